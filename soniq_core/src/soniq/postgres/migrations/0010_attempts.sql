-- oldest: 1
-- The attempts of a job that failed, were lost or ended it: the error of a job is that of the latest alone.

-- A list, in order; null where there was none, so that a job that succeeds at once has nothing to pay. An attempt that is not
-- charged is not in it. Where a finished job was run again by hand, an entry of the kind "retried" says so.
alter table {schema}.job add column attempts jsonb;
alter table {schema}.history add column attempts jsonb;

-- A list with one more: the first and the last nineteen. The first has its traceback; that of the last is in the job's error.
-- Times are in UTC, whatever the session's zone is, and whatever it takes the letters UTC for.
create function {schema}.attempted_1(
    attempts jsonb, n integer, kind text, took float8, worker uuid, error jsonb, by text
) returns jsonb
language sql stable
return case when jsonb_array_length(attempts) >= 20 then attempts - 1 else coalesce(attempts, '[]') end || jsonb_build_object(
    'n', n, 'kind', kind, 'took', took, 'at', to_char(
        (statement_timestamp() - make_interval(secs => coalesce(took, 0))) at time zone interval '0',
        'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
    ),
    'worker_id', worker, 'by', by, 'type', error ->> 'type', 'message', left(error ->> 'message', 1000),
    'traceback', case when attempts is null then error ->> 'traceback' end
);

-- As settle_and_claim_1, which workers that are older go on calling; and writes down attempts. Given back: also seconds since
-- the attempt started.
create function {schema}.settle_and_claim_2(
    p_worker uuid,
    p_ids uuid[], p_claims bigint[], p_statuses text[], p_results bytea[], p_stores text[], p_errors text[], p_ages float8[],
    q_ids uuid[], q_claims bigint[], q_kinds smallint[], q_delays float8[], q_errors text[], q_ages float8[],
    l_queues text[], l_priorities smallint[], l_times timestamptz[], l_ids uuid[],
    p_limit integer
) returns table (
    r_id uuid, r_claim bigint, r_flags smallint, r_name text, r_queue text, r_priority smallint, r_attempt smallint,
    r_max_attempts smallint, r_args bytea, r_serializer text, r_headers text, r_created_at timestamptz,
    r_scheduled_at timestamptz, r_queued_for float8, r_timeout float8, r_unknown_for float8,
    r_expires_in float8, r_holders text[], r_marks text[], r_tags text[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_nestloop = off
set enable_mergejoin = off
set jit = off
set lock_timeout = '2s'
as $$
#variable_conflict use_column
begin
return query
with settled as (
    delete from {schema}.job
    where id = any(p_ids) and status = 'running'
        and ((id, claim) in (select id, claim from unnest(p_ids, p_claims) as o (id, claim))) is true -- no join, but a hash
    returning id, claim, created_at, scheduled_at, timeout, keep, keep_dead, worker_id, priority, attempt, max_attempts, name,
        queue, serializer, dedup_scope, dedup_label, args, headers, tags, error, cancel_error, progress, holders,
        marks, attempts
), given_back as (
    update {schema}.job set
        status = 'queued',
        worker_id = null,
        started_at = null,
        started = false,
        suspect = back.kind in (0, 3) and suspect,
        attempt = attempt + (back.kind = 2)::int::smallint,
        scheduled_at = statement_timestamp() + make_interval(secs => case when cancel_requested then 0 when back.kind = 3 then least(2 ^ least(deferrals, 9), 300) else back.delay end),
        deferrals = case when back.kind = 3 then least(deferrals + 1, 1000) else 0 end,
        deferred_since = case when back.kind = 3 then coalesce(deferred_since, statement_timestamp()) end,
        error = coalesce(back.error::jsonb, job.error),
        attempts = case when back.kind = 2
            then {schema}.attempted_1(attempts, attempt + 1, 'retry', back.age, worker_id, back.error::jsonb, null) else attempts end
    from unnest(q_ids, q_claims, q_kinds, q_delays, q_errors, q_ages) as back (id, claim, kind, delay, error, age)
    where job.id = any(array[back.id]) and job.claim = any(array[back.claim]) and job.status = 'running'
    returning job.id
), me as (
    select 1 from {schema}.worker where id = p_worker for key share
), changed as materialized (
    select (select count(*) from settled) + (select count(*) from given_back) as jobs, (select count(*) from me) as workers
), picked as (
    select ready.id
    from unnest(l_queues, l_priorities, l_times, l_ids) with ordinality as lane (queue, priority, time, id, place)
    cross join lateral (
        select job.id from {schema}.job
        where job.status = 'queued' and job.queue = lane.queue and job.priority = lane.priority
            and (job.scheduled_at, job.id) > (lane.time, lane.id) and job.scheduled_at <= statement_timestamp()
        order by job.scheduled_at, job.id
        limit p_limit
        for update skip locked
    ) as ready
    where (select jobs >= 0 and workers = 1 from changed)
    limit p_limit
), claimed as (
    update {schema}.job set
        status = 'running',
        claim = claim + 1,
        worker_id = p_worker,
        started_at = statement_timestamp(),
        progress = null,
        dedup_key = case when dedup_scope = 'queued' then null else dedup_key end
    where id = any(array(select id from picked))
    returning id, claim, suspect, cancel_requested, name, queue, priority, attempt, max_attempts, args, serializer, headers,
        created_at, scheduled_at, timeout, deferred_since, expires_at, holders, marks, tags
), recorded as (
    insert into {schema}.history (
        id, forget_at, created_at, scheduled_at, started_at, finished_at, claim, timeout, keep, keep_dead,
        worker_id, priority,
        attempt, max_attempts, name, queue, status, serializer, dedup_scope, dedup_label, result_store, args, result,
        headers, tags, error, progress, holders, marks, attempts
    )
    select
        id, case
            when outcome.status is distinct from 'dead' and keep < (select date_part('epoch', bound - statement_timestamp()) from {schema}.retention)
            then statement_timestamp() + make_interval(secs => keep) else 'infinity'
        end, created_at, scheduled_at, statement_timestamp() - make_interval(secs => age), statement_timestamp(), claim,
        timeout, keep, keep_dead, worker_id, priority, attempt + (age is not null)::int, max_attempts, name, queue,
        coalesce(outcome.status, 'done'), serializer, dedup_scope, dedup_label,
        case when outcome.result is not null then coalesce(outcome.store, 'row') end, args, outcome.result, headers, tags,
        coalesce(
            case when outcome.status = 'cancelled' then cancel_error end,
            outcome.error::jsonb,
            case when outcome.status <> 'done' then settled.error end
        ), progress, holders, marks,
        case when outcome.status is null or age is null then attempts else {schema}.attempted_1(
            attempts, attempt + 1, case outcome.status when 'dead' then 'dead' else 'cancel' end, age, worker_id,
            coalesce(case when outcome.status = 'cancelled' then cancel_error end, outcome.error::jsonb), null
        ) end
    from settled
    join unnest(p_ids, p_claims, p_statuses, p_results, p_stores, p_errors, p_ages)
        as outcome (id, claim, status, result, store, error, age) using (id, claim)
)
select
    null::uuid, jobs, workers::smallint, null::text, null::text, null::smallint, null::smallint, null::smallint,
    null::bytea, null::text, null::text, null::timestamptz, null::timestamptz, null::float8, null::float8, null::float8,
    null::float8, null::text[], null::text[], null::text[]
from changed
union all
select * from (
    select
        id, claim,
        (suspect::int + 2 * cancel_requested::int)::smallint,
        name, queue, priority, attempt, max_attempts, args, serializer, headers::text, created_at, scheduled_at,
        date_part('epoch', statement_timestamp() - scheduled_at), timeout, date_part('epoch', statement_timestamp() - deferred_since),
        date_part('epoch', expires_at - statement_timestamp()), holders, marks, tags
    from claimed
    order by priority, scheduled_at, id
) as urgent_first;
end
$$;

-- What follows takes the place of functions that older code goes on calling, so that it keeps the attempts, too.

create or replace function {schema}.cancel_waiting_1(p_ids uuid[], p_error text)
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
        holders, marks, attempts
    )
    select
        id, case
            when keep < (select date_part('epoch', bound - now()) from {schema}.retention)
            then now() + make_interval(secs => keep) else 'infinity'
        end, created_at, scheduled_at, now(), claim, timeout, keep, keep_dead, priority, attempt, max_attempts, name,
        queue, 'cancelled', serializer, dedup_scope, dedup_label, args, headers, tags, p_error::jsonb, progress,
        holders, marks, attempts
    from cancelled
)
select id, name, queue, attempt, claim, null::uuid, null::float8, headers::text, tags, marks from cancelled;
end
$$;

-- With who retries; no release had it without.
drop function {schema}.retry_2;
create function {schema}.retry_2(
    p_ids uuid[], p_queue text, p_priority smallint, p_max_attempts smallint, p_timeout float8, p_delay float8,
    p_by text
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

create or replace function {schema}.retry_1(
    p_ids uuid[], p_queue text, p_priority smallint, p_max_attempts smallint, p_timeout float8, p_delay float8
) returns table (
    queue text, changed boolean, held boolean, owed boolean, id uuid, name text, priority smallint, headers text, tags text[],
    marks text[], held_by text[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
return query
select queue, changed, held, owed, case when back then id end, name, priority, headers, tags, marks, held_by
from {schema}.retry_2(p_ids, p_queue, p_priority, p_max_attempts, p_timeout, p_delay, null);
end
$$;

create or replace function {schema}.rescue_1(p_ids uuid[], p_error text) returns table (
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
        holders, marks, attempts
    )
    select
        id, case
            when cancel_requested and keep < (select date_part('epoch', bound - now()) from {schema}.retention)
            then now() + make_interval(secs => keep) else 'infinity'
        end, created_at, scheduled_at, started_at, now(), claim + 1, timeout, keep, keep_dead, worker_id,
        priority, attempt + started::int, max_attempts, name, queue,
        case when cancel_requested then 'cancelled' else 'dead' end, serializer, dedup_scope, dedup_label, args, headers,
        tags, coalesce(cancel_error, case when started then p_error::jsonb else error end), progress, holders, marks,
        case when started then {schema}.attempted_1(
            attempts, attempt + 1, 'lost', date_part('epoch', now() - started_at), worker_id, p_error::jsonb, null
        ) else attempts end
    from ended
), requeued as (
    update {schema}.job set
        status = 'queued', worker_id = null, started_at = null, suspect = true, started = false,
        attempt = attempt + started::int, scheduled_at = now(), claim = claim + 1,
        error = case when started then p_error::jsonb else error end,
        attempts = case when started then {schema}.attempted_1(
            attempts, attempt + 1, 'lost', date_part('epoch', now() - started_at), worker_id, p_error::jsonb, null
        ) else attempts end
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

-- As job_1, with the attempts.
create function {schema}.job_2(p_id uuid) returns table (
    id uuid, name text, status text, queue text, priority smallint, attempt integer, max_attempts smallint,
    created_at timestamptz, scheduled_at timestamptz, started_at timestamptz, finished_at timestamptz, worker_id uuid,
    tags text[], progress text, error text, serializer text, result bytea, result_store text, args bytea, headers text,
    dedup_label text, held_by text[], attempts text
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
    headers::text, dedup_label, held_by, attempts::text
from {schema}.job where id = p_id
union all
select
    id, name, status, queue, priority, attempt::int, max_attempts, created_at, scheduled_at, started_at, finished_at,
    worker_id, tags, progress::text, error::text, serializer, result, result_store, args, headers::text, dedup_label,
    null::text[], attempts::text
from {schema}.history where id = p_id;
end
$$;

-- The attempts of one job alone.
create function {schema}.attempts_1(p_id uuid) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
begin
return (
    select attempts::text from {schema}.job where id = p_id
    union all
    select attempts::text from {schema}.history where id = p_id
);
end
$$;
