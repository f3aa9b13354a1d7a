-- oldest: 1
-- What is done to many jobs at once, by hand: which they are, what they are now, and what becomes of each.

-- The ids of the newest jobs that match, found as jobs_1 finds them, and nothing else of them.
create function {schema}.ids_1(
    p_status text, p_name text, p_queue text, p_tag text, p_before uuid, p_limit integer
) returns table (id uuid)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = on
set jit = off
as $$
#variable_conflict use_column
declare
    near constant integer := 10000;
    conditions constant text := {schema}.conditions_1(p_status, p_name, p_queue, p_tag);
    older constant text := case when p_before is null then 'true' else 'id < $5' end;
    half text;
    beyond uuid; -- the newest of those that are not near
    found uuid[];
    ids uuid[] := '{}';
begin
foreach half in array array['job', 'history'] loop
    if p_status in ('queued', 'held', 'running') and half = 'history' or p_status in ('done', 'dead', 'cancelled') and half = 'job' then
        continue;
    elsif conditions = 'true' or p_status in ('dead', 'cancelled') and p_tag is null then
        execute format(
            'select array(select id from {schema}.%I where %s and %s order by id desc limit $6)', half, conditions, older
        ) into found using p_status, p_name, p_queue, p_tag, p_before, p_limit;
    else
        execute format(
            'select array(select id from (
                select * from {schema}.%I where %s order by id desc limit $7
            ) as newest where %s order by id desc limit $6)', half, older, conditions
        ) into found using p_status, p_name, p_queue, p_tag, p_before, p_limit, near;
        if cardinality(found) < p_limit then
            execute format(
                'select id from {schema}.%I where %s order by id desc offset $6 limit 1', half, older
            ) into beyond using p_status, p_name, p_queue, p_tag, p_before, near;
            if beyond is not null then
                execute format(
                    'with matching as materialized (select id from {schema}.%I where %s and id <= $5)
                    select $7 || array(select id from matching order by id desc limit $6 - cardinality($7))', half, conditions
                ) into found using p_status, p_name, p_queue, p_tag, beyond, p_limit, found;
            end if;
        end if;
    end if;
    ids := ids || found;
end loop;

return query select found from unnest(ids) as found order by 1 desc limit p_limit;
end
$$;

-- What jobs are now, without what is large.
create function {schema}.states_1(p_ids uuid[]) returns table (id uuid, status text, held_by text[], result_store text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
begin
return query
select id, status, held_by, null::text from {schema}.job where id = any(p_ids)
union all
select id, status, null::text[], result_store from {schema}.history where id = any(p_ids);
end
$$;

create function {schema}.cancel_running_2(p_ids uuid[], p_error text) returns table (id uuid)
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
update {schema}.job set cancel_requested = true, cancel_error = coalesce(p_error::jsonb, cancel_error)
where id = any(p_ids) and status = 'running' returning id;
end
$$;

-- As retry_1; it names all jobs that it answers, and says which came out of history. A value that is null changes nothing.
create function {schema}.retry_2(
    p_ids uuid[], p_queue text, p_priority smallint, p_max_attempts smallint, p_timeout float8, p_delay float8
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
    delete from {schema}.history where id = any(p_ids) and status in ('dead', 'cancelled') returning *
), requeued as (
    insert into {schema}.job (
        id, name, queue, priority, max_attempts, serializer, args, headers, created_at, scheduled_at, claim, timeout,
        keep, keep_dead, tags, dedup_key, dedup_label, dedup_scope, error, status, held_by, holders, marks
    )
    select
        id, name, coalesce(p_queue, queue), coalesce(p_priority, priority), coalesce(p_max_attempts, max_attempts),
        serializer, args, headers, created_at, now() + make_interval(secs => coalesce(p_delay, 0)), claim,
        coalesce(p_timeout, timeout), keep, keep_dead, tags,
        case when dedup_scope = 'unfinished' then dedup_label end, dedup_label, dedup_scope,
        case when status = 'dead' then error end,
        case when holders is null then 'queued' else 'held' end, holders, holders, marks
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
    and num_nonnulls(p_queue, p_priority, p_max_attempts, p_timeout, p_delay) = 0;
end
$$;
