-- oldest: 1
-- What a statement costs that writes little: most of it is what comes before its first row.

-- PostgreSQL reads the text of each CHECK anew in each statement that writes to its table, and builds what it says: of the
-- INSERT of one job that was two thirds. A call of a function is a short text, and its body is read once in a session. It
-- sets no search_path, which each row would pay for: each operator is of the very types that it is used with, and each
-- function is named with its schema, so that nothing that others have made fits better.
create function {schema}.job_is_sound_1(
    status text, held_by text[], holders text[], marks text[], dedup_scope text,
    created_at timestamptz, scheduled_at timestamptz, expires_at timestamptz,
    claim bigint, max_attempts smallint, attempt smallint, keep float8, timeout float8
) returns boolean
language plpgsql immutable parallel safe
as $$
begin
return
    status in ('queued', 'held', 'running')
    and (status = 'held') = (held_by is not null) and pg_catalog.cardinality(held_by) > 0
    and pg_catalog.array_ndims(held_by) = 1 and pg_catalog.array_position(held_by, null) is null
    and pg_catalog.array_ndims(holders) = 1 and pg_catalog.array_position(holders, null) is null
    and pg_catalog.array_ndims(marks) = 1 and pg_catalog.array_position(marks, null) is null
    and dedup_scope in ('unfinished', 'queued')
    -- What a worker could not read, or count on from, would stop all: one claim brings many rows.
    and created_at >= '0001-01-01 00:00+00' and created_at < '10000-01-01 00:00+00'
    and scheduled_at >= '0001-01-01 00:00+00' and scheduled_at < '10000-01-01 00:00+00'
    and expires_at >= '0001-01-01 00:00+00' and expires_at < '10000-01-01 00:00+00'
    and claim >= 0 and claim < 4611686018427387904 and max_attempts >= 1 and attempt >= 0 and attempt < 32767
    and keep >= '0' and keep < 'infinity' and timeout > '0' and timeout < 'infinity';
end
$$;

-- Not looked at again: each row was written under the same conditions.
alter table {schema}.job
    drop constraint job_status_check, drop constraint job_dedup_scope_check, drop constraint held_by_somebody,
    drop constraint holders_are_names, drop constraint times_are_of_years_1_to_9999, drop constraint numbers_can_be_counted_on,
    add constraint job_is_sound check ({schema}.job_is_sound_1(
        status, held_by, holders, marks, dedup_scope, created_at, scheduled_at, expires_at,
        claim, max_attempts, attempt, keep, timeout
    )) not valid;

-- As it was, in statements of their own, of which those without anything to do are left out. The claim goes last, and sees
-- nothing of what was given back before it.
create or replace function {schema}.settle_and_claim_2(
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
declare
    ended bigint := 0;
    back  bigint := 0;
begin
if p_ids <> '{}' then -- what is settled
    with settled as (
        delete from {schema}.job
        where id = any(p_ids) and status = 'running'
            and ((id, claim) in (select id, claim from unnest(p_ids, p_claims) as o (id, claim))) is true -- no join, but a hash
        returning id, claim, created_at, scheduled_at, timeout, keep, keep_dead, worker_id, priority, attempt, max_attempts,
            name, queue, serializer, dedup_scope, dedup_label, args, headers, tags, error, cancel_error, progress, holders,
            marks, attempts
    )
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
        as outcome (id, claim, status, result, store, error, age) using (id, claim);
    get diagnostics ended = row_count;
end if;

if q_ids <> '{}' then -- what is given back
    update {schema}.job set
        status = 'queued',
        worker_id = null,
        started_at = null,
        started = false,
        suspect = back.kind in (0, 3) and suspect,
        attempt = attempt + (back.kind = 2)::int::smallint,
        scheduled_at = statement_timestamp() + greatest(interval '1 microsecond', make_interval(secs => case
            when cancel_requested then 0 when back.kind = 3 then least(2 ^ least(deferrals, 9), 300) else back.delay
        end)),
        deferrals = case when back.kind = 3 then least(deferrals + 1, 1000) else 0 end,
        deferred_since = case when back.kind = 3 then coalesce(deferred_since, statement_timestamp()) end,
        error = coalesce(back.error::jsonb, job.error),
        attempts = case when back.kind = 2
            then {schema}.attempted_1(attempts, attempt + 1, 'retry', back.age, worker_id, back.error::jsonb, null) else attempts end
    from unnest(q_ids, q_claims, q_kinds, q_delays, q_errors, q_ages) as back (id, claim, kind, delay, error, age)
    where job.id = any(array[back.id]) and job.claim = any(array[back.claim]) and job.status = 'running';
    get diagnostics back = row_count;
end if;

perform 1 from {schema}.worker where id = p_worker for key share;
r_claim := ended + back;
r_flags := found::int;
return next;

if r_flags = 1 and p_limit > 0 then -- what is claimed
    return query
    with picked as (
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
    )
    select
        id, claim,
        (suspect::int + 2 * cancel_requested::int)::smallint,
        name, queue, priority, attempt, max_attempts, args, serializer, headers::text, created_at, scheduled_at,
        date_part('epoch', statement_timestamp() - scheduled_at), timeout, date_part('epoch', statement_timestamp() - deferred_since),
        date_part('epoch', expires_at - statement_timestamp()), holders, marks, tags
    from claimed
    order by priority, scheduled_at, id;
end if;
end
$$;
