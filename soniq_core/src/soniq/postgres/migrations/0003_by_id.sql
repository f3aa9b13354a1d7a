-- oldest: 1
-- The statements that find jobs by their ids. Sent as they are, a session that planned one while the table was empty, or
-- taken for empty, would read all of it from then on. In functions their plans are made without such choices, and behind
-- PgBouncer as well. As in settle_and_claim_1, no equality joins job to anything.

create function {schema}.job_1(p_id uuid) returns table (
    id uuid, name text, status text, queue text, priority smallint, attempt integer, max_attempts smallint,
    created_at timestamptz, scheduled_at timestamptz, started_at timestamptz, finished_at timestamptz, worker_id uuid,
    tags text[], progress text, error text, serializer text, result bytea, result_store text, args bytea, headers text,
    dedup_label text, held_by text[]
)
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
select
    id, name, status, queue, priority, attempt + (status = 'running')::int, max_attempts, created_at, scheduled_at,
    started_at, null::timestamptz, worker_id, tags, progress::text, error::text, serializer, null::bytea, null::text, args,
    headers::text, dedup_label, held_by
from {schema}.job where id = p_id
union all
select
    id, name, status, queue, priority, attempt::int, max_attempts, created_at, scheduled_at, started_at, finished_at,
    worker_id, tags, progress::text, error::text, serializer, result, result_store, args, headers::text, dedup_label,
    null::text[]
from {schema}.history where id = p_id;
end
$$;

create function {schema}.existing_1(p_ids uuid[]) returns table (id uuid)
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
select id from {schema}.job where id = any(p_ids)
union all
select id from {schema}.history where id = any(p_ids);
end
$$;

create function {schema}.write_start_1(p_id uuid, p_claim bigint) returns table (id uuid)
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
update {schema}.job set started = true where id = p_id and claim = p_claim and status = 'running' returning id;
end
$$;

create function {schema}.heartbeat_1(p_worker uuid, p_running uuid[], p_reported uuid[], p_reports text[])
returns table (to_cancel uuid[])
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
with me as (
    update {schema}.worker set seen_at = clock_timestamp() where id = p_worker returning id
), free as materialized (
    select id from {schema}.job where id = any(p_reported) and worker_id = p_worker and status = 'running'
    for no key update skip locked
), reported as (
    update {schema}.job set progress = (
        select report.progress::jsonb from unnest(p_reported, p_reports) as report (id, progress)
        where report.id = job.id limit 1
    )
    where id = any(array(select id from free))
)
select array(select id from {schema}.job where id = any(p_running) and worker_id = p_worker and cancel_requested) from me;
end
$$;

-- Those of the claims that still stand, locked in one order.
create function {schema}.running_1(p_ids uuid[], p_claims bigint[]) returns table (id uuid)
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
select id from {schema}.job
where id = any(p_ids) and status = 'running'
    and ((id, claim) in (select id, claim from unnest(p_ids, p_claims) as mine (id, claim))) is true
order by id
for update;
end
$$;

create function {schema}.locked_1(p_ids uuid[]) returns table (id uuid)
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
with free as materialized (select id from {schema}.job where id = any(p_ids) for update skip locked)
select id from {schema}.job where id = any(p_ids) and (id in (select id from free)) is not true;
end
$$;

create function {schema}.lost_settlements_1(p_ids uuid[], p_claims bigint[]) returns table (id uuid)
language plpgsql stable
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
select sent.id from unnest(p_ids, p_claims) as sent (id, claim)
where ((sent.id, sent.claim) in (select id, claim from {schema}.history where id = any(p_ids))) is not true
    and ((sent.id, sent.claim, true) in (select id, claim, status <> 'running' from {schema}.job where id = any(p_ids))) is not true;
end
$$;

create function {schema}.cancel_running_1(p_id uuid, p_error text) returns table (worker_id uuid)
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
where id = p_id and status = 'running' returning worker_id;
end
$$;

create function {schema}.to_cancel_1(p_worker uuid, p_ids uuid[]) returns table (id uuid)
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
select id from {schema}.job where id = any(p_ids) and worker_id = p_worker and status = 'running' and cancel_requested;
end
$$;

create function {schema}.cancel_waiting_1(p_ids uuid[], p_error text)
returns table (
    id uuid, name text, queue text, attempt smallint, claim bigint, worker_id uuid, queued_for float8, headers text, tags text[],
    marks text[]
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
with cancelled as (
    delete from {schema}.job where id = any(p_ids) and status in ('queued', 'held') returning *
), recorded as (
    insert into {schema}.history (
        id, forget_at, created_at, scheduled_at, finished_at, claim, timeout, keep, keep_dead, priority, attempt,
        max_attempts, name, queue, status, serializer, dedup_scope, dedup_label, args, headers, tags, error, progress,
        holders, marks
    )
    select
        id, case
            when keep < (select date_part('epoch', bound - now()) from {schema}.retention)
            then now() + make_interval(secs => keep) else 'infinity'
        end, created_at, scheduled_at, now(), claim, timeout, keep, keep_dead, priority, attempt, max_attempts, name,
        queue, 'cancelled', serializer, dedup_scope, dedup_label, args, headers, tags, p_error::jsonb, progress,
        holders, marks
    from cancelled
)
select id, name, queue, attempt, claim, null::uuid, null::float8, headers::text, tags, marks from cancelled;
end
$$;

-- A value that is null changes nothing.
create function {schema}.retry_1(
    p_ids uuid[], p_queue text, p_priority smallint, p_max_attempts smallint, p_timeout float8, p_delay float8
) returns table (
    queue text, changed boolean, held boolean, owed boolean, id uuid, name text, priority smallint, headers text, tags text[],
    marks text[], held_by text[]
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
    returning queue
)
select queue, true, status = 'held', marks is not null, id, name, priority, headers::text, tags, marks, held_by from requeued
union all
select queue, true, false, false, null, null, null, null, null, null, null from due
union all
select queue, false, false, false, null, null, null, null, null, null, null from {schema}.job
where id = any(p_ids) and status not in ('running', 'held') and scheduled_at <= now()
    and num_nonnulls(p_queue, p_priority, p_max_attempts, p_timeout, p_delay) = 0;
end
$$;

create function {schema}.holder_of_key_1(p_id uuid) returns table (id uuid)
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
with finished as materialized (select name, dedup_label from {schema}.history where id = p_id limit 1)
select id from {schema}.job
where name = (select name from finished) and dedup_key = (select dedup_label from finished);
end
$$;

create function {schema}.rescue_1(p_ids uuid[], p_error text) returns table (
    id uuid, name text, queue text, priority smallint, status text, charged boolean, attempt integer,
    max_attempts smallint, headers text, created_at timestamptz, scheduled_at timestamptz, worker_id uuid,
    queued_for float8, took float8, claim bigint, tags text[], marks text[]
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
with orphan as materialized (
    select
        id, worker_id, started, scheduled_at, started_at,
        cancel_requested or (started and attempt + 1 >= max_attempts) as ends
    from {schema}.job
    where id = any(p_ids) and status = 'running' and (worker_id in (select id from {schema}.worker)) is not true
    for update skip locked
), ended as (
    delete from {schema}.job where id = any(array(select id from orphan where ends))
    returning *
), recorded as (
    insert into {schema}.history (
        id, forget_at, created_at, scheduled_at, started_at, finished_at, claim, timeout, keep, keep_dead, worker_id,
        priority, attempt, max_attempts, name, queue, status, serializer, dedup_scope, dedup_label, args, headers, tags, error, progress,
        holders, marks
    )
    select
        id, case
            when cancel_requested and keep < (select date_part('epoch', bound - now()) from {schema}.retention)
            then now() + make_interval(secs => keep) else 'infinity'
        end, created_at, scheduled_at, started_at, now(), claim + 1, timeout, keep, keep_dead, worker_id,
        priority, attempt + started::int, max_attempts, name, queue,
        case when cancel_requested then 'cancelled' else 'dead' end, serializer, dedup_scope, dedup_label, args, headers,
        tags, coalesce(cancel_error, case when started then p_error::jsonb else error end), progress, holders, marks
    from ended
), requeued as (
    update {schema}.job set
        status = 'queued', worker_id = null, started_at = null, suspect = true, started = false,
        attempt = attempt + started::int, scheduled_at = now(), claim = claim + 1,
        error = case when started then p_error::jsonb else error end
    where id = any(array(select id from orphan where not ends))
    returning id, name, queue, priority, attempt, max_attempts, headers, created_at, claim, tags, marks
)
select
    id, name, queue, priority, case when cancel_requested then 'cancelled' else 'dead' end, started, attempt + started::int,
    max_attempts, headers::text, created_at, scheduled_at, worker_id, date_part('epoch', started_at - scheduled_at),
    date_part('epoch', now() - started_at), claim, tags, marks
from ended
union all
select
    id, name, queue, priority, 'queued', started, attempt::int, max_attempts, headers::text, created_at, scheduled_at,
    worker_id, date_part('epoch', started_at - scheduled_at), date_part('epoch', now() - started_at), claim - 1, tags, marks
from requeued join orphan using (id);
end
$$;

-- Finished jobs that can be forgotten with their results, and what the stores are to delete. `p_stores`: those whose
-- results can be deleted here.
create function {schema}.delete_1(p_ids uuid[], p_stores text[])
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
returning id, name, queue, status, result_store, result;
end
$$;

-- What follows is for questions of operators, not for workers.

-- The conditions of a search, of what is asked for only, as a plan is made for each: $1 status, $2 name, $3 queue, $4 tag.
-- Of those finished, what is not done has an index of its own.
create function {schema}.conditions_1(p_status text, p_name text, p_queue text, p_tag text) returns text
language sql immutable
return concat_ws(
    ' and ',
    'true',
    case when p_status is not null then 'status = $1' end,
    case when p_status in ('dead', 'cancelled') then 'status <> ''done''' end,
    case when p_name is not null then 'name = $2' end,
    case when p_queue is not null then 'queue = $3' end,
    case when p_tag is not null then 'tags @> array[$4] and tags is not null' end
);

-- The newest jobs that match; null is "any". Ids rise with time. p_since: finished since then, or else created.
-- The newest ten thousand are looked through first: where much matches that is all. Where little does, the others are found
-- through what index there is, and not in the order of their ids, which could be a walk through all that is kept.
create function {schema}.jobs_1(
    p_status text, p_name text, p_queue text, p_tag text, p_before uuid, p_limit integer, p_since timestamptz
) returns table (
    id uuid, name text, status text, queue text, priority smallint, attempt integer, max_attempts smallint,
    created_at timestamptz, scheduled_at timestamptz, started_at timestamptz, finished_at timestamptz, worker_id uuid,
    tags text[], progress text, error text, held_by text[]
)
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
    matches text;
    beyond uuid; -- the newest of those that are not near
    found uuid[];
    live uuid[];
    finished uuid[];
begin
foreach half in array array['job', 'history'] loop
    found := '{}';
    matches := conditions || case
        when p_since is null then ''
        when half = 'job' then ' and created_at >= $6'
        else ' and finished_at >= $6'
    end;
    if p_status in ('queued', 'held', 'running') and half = 'history' or p_status in ('done', 'dead', 'cancelled') and half = 'job' then
        continue;
    elsif matches = 'true' or p_status in ('dead', 'cancelled') and p_since is null and p_tag is null then
        execute format(
            'select array(select id from {schema}.%I where %s and %s order by id desc limit $7)', half, matches, older
        ) into found using p_status, p_name, p_queue, p_tag, p_before, p_since, p_limit;
    else
        execute format(
            'select array(select id from (
                select * from {schema}.%I where %s order by id desc limit $8
            ) as newest where %s order by id desc limit $7)', half, older, matches
        ) into found using p_status, p_name, p_queue, p_tag, p_before, p_since, p_limit, near;
        if cardinality(found) < p_limit then
            execute format(
                'select id from {schema}.%I where %s order by id desc offset $6 limit 1', half, older
            ) into beyond using p_status, p_name, p_queue, p_tag, p_before, near;
            if beyond is not null then
                execute format(
                    'with matching as materialized (select id from {schema}.%I where %s and id <= $7)
                    select $9 || array(select id from matching order by id desc limit $8 - cardinality($9))',
                    half, matches
                ) into found using p_status, p_name, p_queue, p_tag, p_before, p_since, beyond, p_limit, found;
            end if;
        end if;
    end if;
    if half = 'job' then
        live := found;
    else
        finished := found;
    end if;
end loop;

perform set_config('enable_seqscan', 'off', true); -- by their ids, as in all that is above; until the function returns
return query
select
    id, name, status, queue, priority, attempt + (status = 'running')::int, max_attempts, created_at, scheduled_at,
    started_at, null::timestamptz, worker_id, tags, progress::text, error::text, held_by
from {schema}.job where cardinality(live) > 0 and id = any(live)
union all
select
    id, name, status, queue, priority, attempt::int, max_attempts, created_at, scheduled_at, started_at, finished_at,
    worker_id, tags, progress::text, error::text, null::text[]
from {schema}.history where cardinality(finished) > 0 and id = any(finished)
order by 1 desc limit p_limit;
end
$$;

-- How many jobs match; null is "any". p_later: of those that are not finished, only those that are due later.
create function {schema}.count_1(p_status text, p_name text, p_queue text, p_tag text, p_later boolean) returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
set jit = off
as $$
declare
    conditions constant text := {schema}.conditions_1(p_status, p_name, p_queue, p_tag);
    live bigint := 0;
    finished bigint := 0;
begin
    if coalesce(p_status in ('queued', 'held', 'running'), true) then
        execute format('select count(*) from {schema}.job where %s and (not $5 or scheduled_at > now())', conditions)
        into live using p_status, p_name, p_queue, p_tag, p_later;
    end if;
    if coalesce(p_status in ('done', 'dead', 'cancelled'), true) then
        execute format('select count(*) from {schema}.history where %s', conditions)
        into finished using p_status, p_name, p_queue, p_tag;
    end if;
    return live + finished;
end
$$;

-- How many finished jobs of each queue and status are kept. What is not done is counted. What is done is counted, too, in
-- as many pages of the tables as are quickly read; where there are more, these are a sample, and p_exact is false.
create function {schema}.finished_1() returns table (queue text, status text, jobs bigint, p_exact boolean)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
    enough constant integer := 4000;
    pages bigint;
    share float8; -- of the pages, in percent
begin
    select sum(pg_relation_size(inhrelid)) / current_setting('block_size')::integer into pages
    from pg_inherits where inhparent = '{schema}.history'::regclass;
    share := least(100.0, 100.0 * enough / greatest(pages, 1));

    return query
    select queue, status, count(*), true from {schema}.history where status <> 'done' group by queue, status
    union all
    select queue, 'done', round(count(*) * 100 / share)::bigint, share = 100
    from {schema}.history tablesample system (share) where status = 'done' group by queue;
end
$$;
