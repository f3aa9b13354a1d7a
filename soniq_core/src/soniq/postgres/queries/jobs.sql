-- The newest jobs that match; null is "any". Ids rise with time. `$7`: finished since then, or else created.
(
    select
        id, name, status, queue, priority, attempt + (status = 'running')::int as attempt, max_attempts, created_at,
        scheduled_at, started_at, null::timestamptz as finished_at, worker_id, tags, progress::text, error::text
    from {schema}.job
    where ($1::text is null or status = $1) and ($2::text is null or name = $2) and ($3::text is null or queue = $3)
        and ($4::text is null or tags @> array[$4]) and ($5::uuid is null or id < $5)
        and ($7::timestamptz is null or created_at >= $7)
    order by id desc limit $6
)
union all
(
    select
        id, name, status, queue, priority, attempt, max_attempts, created_at, scheduled_at, started_at, finished_at,
        worker_id, tags, progress::text, error::text
    from {schema}.history
    where ($1::text is null or status = $1) and ($2::text is null or name = $2) and ($3::text is null or queue = $3)
        and ($4::text is null or tags @> array[$4]) and ($5::uuid is null or id < $5)
        and ($7::timestamptz is null or finished_at >= $7)
    order by id desc limit $6
)
order by id desc limit $6
