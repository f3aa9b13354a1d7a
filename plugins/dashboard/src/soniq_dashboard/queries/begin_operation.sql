-- Make an operation, unless $10 are open already, and keep who asked for it; its id, also where this form was sent before.
with made as (
    insert into {schema}.operation (action, by, reason, search, secret, frozen_at, found, exact)
    select $1, $2, $3, $4::text::jsonb, $5, $6, $7, $8
    where $6::timestamptz between clock_timestamp() - make_interval(secs => $9) and clock_timestamp()
        and (select count(*) from {schema}.operation where state = 'open') < $10
    on conflict (frozen_at, action) do nothing
    returning id
),
told as (
    insert into {schema}.audit (operation_id, jobs, action, by, reason, job_ids) select id, 0, $1, $2, $3, '{}' from made
)
select id from made union all select id from {schema}.operation where frozen_at = $6 and action = $1
