-- oldest: 1
-- What somebody has seen of a job is looked at in the statement that changes it, so that nothing can come between.

-- As retry_2, which older code goes on calling; `p_status`: only those that are of this status. A value that is null changes
-- nothing.
create function {schema}.retry_3(
    p_ids uuid[], p_queue text, p_priority smallint, p_max_attempts smallint, p_timeout float8, p_delay float8,
    p_by text, p_status text
) returns table (
    id uuid, queue text, changed boolean, back boolean, held boolean, owed boolean, name text, priority smallint, headers text,
    tags text[], marks text[], held_by text[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
begin
return query
with taken as (
    delete from {schema}.history where id = any(p_ids) and status in ('dead', 'cancelled') and (p_status is null or status = p_status)
    returning *
), requeued as (
    insert into {schema}.job (
        id, name, queue, priority, max_attempts, serializer, args, headers, created_at, scheduled_at, claim, timeout,
        keep, keep_dead, tags, dedup_key, dedup_label, dedup_scope, error, status, held_by, holders, marks,
        attempts
    )
    select
        id, name, coalesce(p_queue, queue), coalesce(p_priority, priority), coalesce(p_max_attempts, max_attempts),
        serializer, args, headers, created_at, now() + make_interval(secs => coalesce(p_delay, 0)), claim,
        coalesce(p_timeout, timeout), keep, keep_dead, tags,
        case when dedup_scope = 'unfinished' then dedup_label end, dedup_label, dedup_scope,
        case when status = 'dead' then error end,
        case when holders is null then 'queued' else 'held' end, holders, holders, marks,
        {schema}.attempted_1(attempts, null, 'retried', null, null, null, p_by)
    from taken
    returning id, queue, status, marks, name, priority, headers, tags, held_by
), owing as (
    insert into {schema}.owed (plugin, job_id, kind)
    select mark, id, 'retried' from requeued cross join unnest(marks) as mark
), due as (
    update {schema}.job set
        scheduled_at = now() + make_interval(secs => coalesce(p_delay, 0)),
        queue = coalesce(p_queue, queue),
        priority = coalesce(p_priority, priority),
        max_attempts = coalesce(p_max_attempts, max_attempts),
        timeout = coalesce(p_timeout, timeout)
    where id = any(p_ids) and status not in ('running', 'held') -- not "= 'queued'": by id alone
        and (p_status is null or p_status = 'queued')
        and (num_nonnulls(p_queue, p_priority, p_max_attempts, p_timeout, p_delay) > 0 or scheduled_at > now())
    returning id, queue
)
select id, queue, true, true, status = 'held', marks is not null, name, priority, headers::text, tags, marks, held_by
from requeued
union all
select id, queue, true, false, false, false, null, null, null, null, null, null from due
union all
select id, queue, false, false, false, false, null, null, null, null, null, null from {schema}.job
where id = any(p_ids) and status not in ('running', 'held') and scheduled_at <= now()
    and (p_status is null or p_status = 'queued') and num_nonnulls(p_queue, p_priority, p_max_attempts, p_timeout, p_delay) = 0;
end
$$;

-- As delete_1; `p_status`: only those that are of this status.
create function {schema}.delete_2(p_ids uuid[], p_stores text[], p_status text)
returns table (id uuid, name text, queue text, status text, result_store text, result bytea)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
begin
return query
delete from {schema}.history
where id = any(p_ids) and (result is null or result_store = any(p_stores))
    and (p_status is null or status = p_status)
returning id, name, queue, status, result_store, result;
end
$$;
