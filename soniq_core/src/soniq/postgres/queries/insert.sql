-- Jobs without a dedup key. `extras` holds the options that few jobs have. Plugins that hold a job they marked are owed that
-- it came in.
with inserted as (
    insert into {schema}.job (
        id, name, queue, priority, max_attempts, serializer, args, headers, scheduled_at, timeout, expires_at, keep,
        keep_dead, tags, status, held_by, holders, marks
    )
    select
        id, name, queue, priority, max_attempts, serializer, args, headers::jsonb,
        case when extra is null then statement_timestamp() else {schema}.due_1(extra::jsonb) end,
        (extra::jsonb ->> 'timeout')::float8,
        case when extra is not null then {schema}.expires_1(extra::jsonb) end,
        keep,
        (extra::jsonb ->> 'keep_dead')::float8,
        case when extra is not null then {schema}.tags_1(extra::jsonb) end,
        case when extra::jsonb ? 'held_by' then 'held' else 'queued' end,
        case when extra is not null then {schema}.holders_1(extra::jsonb) end,
        case when extra is not null then {schema}.holders_1(extra::jsonb) end,
        case when extra is not null then {schema}.marks_1(extra::jsonb) end
    from unnest(
        $1::uuid[], $2::text[], $3::text[], $4::smallint[], $5::smallint[], $6::text[], $7::float8[], $8::bytea[], $9::text[],
        $10::text[]
    ) as new (id, name, queue, priority, max_attempts, serializer, keep, args, headers, extra)
    on conflict do nothing
    returning id, held_by, marks
)
insert into {schema}.owed (plugin, job_id, kind)
select mark, id, 'enqueued' from inserted cross join unnest(marks) as mark where mark = any(held_by)
