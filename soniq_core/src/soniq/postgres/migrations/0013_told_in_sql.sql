-- oldest: 1
-- What a plugin would be told of while jobs are settled, done by a function of its own, in the one statement that settles and
-- claims: what it lets go then is claimed at once, and nobody is told of it who would find nothing.

-- As release_1, which older workers go on calling, with the time that it is: a claim finds what is due at the statement's time.
create function {schema}.release_2(
    p_ids uuid[], p_holder text, l_queues text[], l_priorities smallint[], l_times timestamptz[], l_ids uuid[], p_last boolean,
    p_now timestamptz
) returns table (id uuid, queue text, priority smallint, scheduled_at timestamptz, held_by text[])
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
with lane as materialized (
    select held.queue, held.priority, least(first.scheduled_at, p_now) as place
    from (select distinct queue, priority from {schema}.job where id = any(p_ids) and status = 'held') as held
    left join unnest(l_queues, l_priorities, l_times, l_ids) as passed (queue, priority, time, id) using (queue, priority)
    left join lateral (
        select job.scheduled_at from {schema}.job
        where job.status = 'queued' and job.queue = held.queue and job.priority = held.priority
            and not p_last
            and (job.scheduled_at, job.id)
                > (coalesce(passed.time, '-infinity'), coalesce(passed.id, '00000000-0000-0000-0000-000000000000'))
        order by job.scheduled_at, job.id
        limit 1
    ) as first on true
), released as (
    update {schema}.job set
        status = case when p_holder is null or array_remove(held_by, p_holder) = '{}' then 'queued' else 'held' end,
        held_by = case when p_holder is not null then nullif(array_remove(held_by, p_holder), '{}') end,
        scheduled_at = case
            when scheduled_at <= p_now and (p_holder is null or array_remove(held_by, p_holder) = '{}')
            then greatest(scheduled_at, (
                select place from lane where lane.queue = job.queue and lane.priority = job.priority
            ))
            else scheduled_at
        end
    where id = any(p_ids) and status = 'held' and held_by @> array_remove(array[p_holder], null)
    returning id, queue, priority, scheduled_at, held_by, marks
), owing as (
    insert into {schema}.owed (plugin, job_id, kind) select held_by[1], id, 'first' from released where held_by[1] = any(marks)
)
select id, queue, priority, scheduled_at, held_by from released;
end
$$;

create or replace function {schema}.release_1(
    p_ids uuid[], p_holder text, l_queues text[], l_priorities smallint[], l_times timestamptz[], l_ids uuid[], p_last boolean
) returns table (id uuid, queue text, priority smallint, scheduled_at timestamptz, held_by text[])
language sql
set search_path = pg_catalog, pg_temp
as $$
select id, queue, priority, scheduled_at, held_by from {schema}.release_2(
    p_ids, p_holder, l_queues, l_priorities, l_times, l_ids, p_last, clock_timestamp()
)
$$;

-- Settles, has a plugin's function p_function say what may go now that jobs have ended (e_ids and so on), and claims, in this
-- order: a claim, which waits for nobody, is the last that it does, so that nobody waits for what it locks. c_queues and so on
-- are the cursors of lanes, for release_2, the rest is as settle_and_claim_2 has it, and so are the rows that it returns. Behind
-- them come those that say where jobs were let go and not claimed: the flags are -1, and -2 where a plugin is owed something.
-- Where some of the settlements change nothing it fails, and nothing is done.
create function {schema}.settle_tell_and_claim_1(
    p_plugin text, p_function text, e_ids uuid[], e_statuses text[], e_claims bigint[],
    c_queues text[], c_priorities smallint[], c_times timestamptz[], c_ids uuid[],
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
set jit = off
set lock_timeout = '500ms'
as $$
declare
    settled bigint;
    here    smallint;
    now     constant timestamptz := statement_timestamp();
    goes    uuid[];
    last    uuid[];
    note    jsonb;
    free    uuid[];
    owes    boolean;
begin
select header.r_claim, header.r_flags into settled, here from {schema}.settle_and_claim_2(
    p_worker, p_ids, p_claims, p_statuses, p_results, p_stores, p_errors, p_ages,
    q_ids, q_claims, q_kinds, q_delays, q_errors, q_ages, '{}', '{}', '{}', '{}', 0
) as header;
if settled <> cardinality(p_ids) + cardinality(q_ids) then
    raise sqlstate 'SQ002' using message = 'some settlements change nothing';
end if;
r_claim := settled;
r_flags := here;
return next;

execute format('select released, last, note from %s($1, $2, $3)', p_function)
into goes, last, note using e_ids, e_statuses, e_claims;
if note is not null then
    insert into {schema}.owed (plugin, kind, what) values (p_plugin, 'note', note);
end if;
owes := note is not null;
if goes <> '{}' or last <> '{}' then
    select array_agg(id) filter (where held_by is null), owes or bool_or(held_by is not null) into free, owes from (
        select id, held_by
        from {schema}.release_2(goes, p_plugin, c_queues, c_priorities, c_times, c_ids, false, now) where goes <> '{}'
        union all
        select id, held_by
        from {schema}.release_2(last, p_plugin, c_queues, c_priorities, c_times, c_ids, true, now) where last <> '{}'
    ) as released;
end if;

if p_limit > 0 then
    return query select * from {schema}.settle_and_claim_2(
        p_worker, '{}', null, null, null, null, null, null, '{}', null, null, null, null, null,
        l_queues, l_priorities, l_times, l_ids, p_limit
    ) as claimed where claimed.r_id is not null;
end if;

if free is not null then
    for r_queue, r_priority, r_scheduled_at in
        select job.queue, job.priority, min(job.scheduled_at) from {schema}.job
        where job.id = any(free) and job.status <> 'running' group by job.queue, job.priority
    loop
        r_id := null;
        r_claim := null;
        r_flags := -1;
        return next;
    end loop;
end if;
if owes then
    r_id := null;
    r_flags := -2;
    return next;
end if;
end
$$;
