-- oldest: 1
-- {schema} is the quoted name of the schema. What is alive is in job, what is finished in history.

create table {schema}.job (
    id               uuid primary key,
    created_at       timestamptz not null default statement_timestamp(),
    scheduled_at     timestamptz not null default statement_timestamp(),
    started_at       timestamptz,
    expires_at       timestamptz,
    deferred_since   timestamptz,                 -- first given back by a worker that does not know its name
    claim            bigint      not null default 0, -- rises with each claim: a settlement names it
    timeout          float8,
    keep             float8      not null,        -- seconds that it can be looked up once it is done or cancelled
    keep_dead        float8,                      -- ... once it is dead; null: as the setting of the app that prunes
    worker_id        uuid,
    priority         smallint    not null default 0,
    attempt          smallint    not null default 0, -- attempts that ended and count
    max_attempts     smallint    not null,
    deferrals        smallint    not null default 0,
    suspect          boolean     not null default false, -- its worker died: the next start is written down
    started          boolean     not null default false, -- ... and here it is
    cancel_requested boolean     not null default false,
    cancel_error     jsonb,
    name             text        not null,
    queue            text collate "C" not null default 'default', -- compared byte by byte, in each claim and look
    status           text        not null default 'queued' check (status in ('queued', 'held', 'running')),
    serializer       text        not null,
    dedup_key        text,                        -- the key it holds now
    dedup_scope      text        check (dedup_scope in ('unfinished', 'queued')),
    dedup_label      text,                        -- the key it was given, for display
    args             bytea       not null,
    headers          jsonb,
    tags             text[],
    error            jsonb,                       -- of the latest failed attempt
    progress         jsonb,
    held_by          text[],                      -- who holds it now; the first of them acts
    holders          text[],                      -- who holds it each time that it comes in: also where it is retried
    marks            text[],                      -- plugins that must hear how it ends
    constraint held_by_somebody check ((status = 'held') = (held_by is not null) and held_by <> '{}'),
    constraint holders_are_names check (
        array_ndims(held_by) = 1 and array_position(held_by, null) is null
        and array_ndims(holders) = 1 and array_position(holders, null) is null
        and array_ndims(marks) = 1 and array_position(marks, null) is null
    ),
    -- What a worker could not read, or count on from, would stop all: one claim brings many rows.
    constraint times_are_of_years_1_to_9999 check (
        created_at >= '0001-01-01 00:00+00' and created_at < '10000-01-01 00:00+00'
        and scheduled_at >= '0001-01-01 00:00+00' and scheduled_at < '10000-01-01 00:00+00'
        and expires_at >= '0001-01-01 00:00+00' and expires_at < '10000-01-01 00:00+00'
    ),
    constraint numbers_can_be_counted_on check (
        claim >= 0 and claim < 4611686018427387904 and max_attempts >= 1 and attempt >= 0 and attempt < 32767
        and keep >= 0 and keep < 'infinity' and timeout > 0 and timeout < 'infinity'
    )
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

create index job_ready on {schema}.job (queue, priority, scheduled_at, id) where status = 'queued';
create unique index job_dedup on {schema}.job (name, dedup_key) where dedup_key is not null;
create index job_tags on {schema}.job using gin (tags) where tags is not null;
create index job_held_until on {schema}.job (expires_at) where status = 'held' and expires_at is not null;

create table {schema}.history (
    id               uuid        not null,
    forget_at        timestamptz not null,        -- finished_at + keep: partitions are dropped when it is past; dead: infinity
    created_at       timestamptz not null,
    scheduled_at     timestamptz not null,
    started_at       timestamptz,
    finished_at      timestamptz not null,
    claim            bigint      not null,
    timeout          float8,
    keep             float8      not null,
    keep_dead        float8,
    worker_id        uuid,
    priority         smallint    not null,
    attempt          smallint    not null,
    max_attempts     smallint    not null,
    name             text        not null,
    queue            text collate "C" not null,
    status           text        not null check (status in ('done', 'dead', 'cancelled')),
    serializer       text        not null,
    dedup_scope      text,
    dedup_label      text,
    result_store     text,
    args             bytea       not null,
    result           bytea,                       -- the reference that the result store gave; of store row the result
    headers          jsonb,
    tags             text[],
    error            jsonb,
    progress         jsonb,
    holders          text[],
    marks            text[],
    primary key (id, forget_at)
) partition by range (forget_at);

create index history_tags on {schema}.history using gin (tags) where tags is not null;
-- For what a person asks: those that need one, newest first, without those that are done ...
create index history_not_done on {schema}.history (status, id) include (queue, name) where status <> 'done';
-- ... and which stretches of the table can hold a name, a queue or a time at all. It has an entry for many rows, made by
-- autovacuum, so that settling hardly feels it.
create index history_stretches on {schema}.history using brin (
    finished_at,
    name text_bloom_ops (n_distinct_per_range = 128, false_positive_rate = 0.01),
    queue text_bloom_ops (n_distinct_per_range = 128, false_positive_rate = 0.01)
) with (pages_per_range = 32, autosummarize = on);

create table {schema}.history_forever partition of {schema}.history for values from ('infinity') to (maxvalue);

-- Where the partitions by time end; what would be forgotten later goes to history_forever.
-- One row; it has a key as every table has, for publications of all tables refuse to update one without.
create table {schema}.retention (bound timestamptz not null, id smallint primary key default 1 check (id = 1));
insert into {schema}.retention values ('2000-01-01');

create table {schema}.worker (
    id          uuid primary key,
    started_at  timestamptz not null default now(),
    seen_at     timestamptz not null default now(),
    lease       float8      not null,
    concurrency integer     not null,
    pid         integer     not null,
    waiting     boolean     not null default false, -- asleep: an enqueue in someone's transaction must wake it
    hostname    text        not null,
    version     text        not null,
    queues      text[],                             -- null: all
    names       text[]      not null,               -- the jobs it knows
    plugins     text[]      not null default '{}'   -- those it has
) with (fillfactor = 50);

create table {schema}.paused_queue (queue text primary key, paused_at timestamptz not null default now());
-- What plugins must hear, and could not be told in the transaction in which it happened: appended there, and told later.
create table {schema}.owed (
    id     bigint      generated always as identity primary key,
    plugin text        not null,
    job_id uuid,
    kind   text        not null,
    at     timestamptz not null default clock_timestamp(),
    due    timestamptz not null default clock_timestamp(), -- later where the plugin could not be told of it
    tries  smallint    not null default 0,
    what   jsonb                                  -- an outcome, or a plugin's own note
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
create index owed_to on {schema}.owed (plugin, id);
create table {schema}.election (name text primary key, worker_id uuid not null, until timestamptz not null);

-- Settles finished jobs, gives others back to the queue, and claims the next, in this order: the claim depends on both
-- CTEs that lock rows, so that it never waits for a worker that waits for it. The first row that it returns is a header:
-- in claim how many rows were settled or given back, in flags whether the worker is still registered.
-- Outcomes: status (null: done), reference and store of the result (null: the row), error as JSON, seconds since the
-- attempt started (null: never). An array whose values are all null may be null itself; no (id, claim) may be there twice.
-- Given back: kind 0 never started, 1 snoozed, 2 failed and counts, 3 the name is not known here, 4 stopped; seconds of delay.
-- Lanes: queue and priority, and the place in each after which to look. Flags: 1 suspect, 2 to be cancelled.
--
-- No equality joins job to anything: a planner that takes job for empty would walk all of job_pkey for such a join, and
-- keep that plan. Rows are found by arrays of ids, and what belongs to them is joined to what came of it.
-- Times are the statement's: the transaction may be a handler's, and have begun long before.
create function {schema}.settle_and_claim_1(
    p_worker uuid,
    p_ids uuid[], p_claims bigint[], p_statuses text[], p_results bytea[], p_stores text[], p_errors text[], p_ages float8[],
    q_ids uuid[], q_claims bigint[], q_kinds smallint[], q_delays float8[], q_errors text[],
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
        marks
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
        error = coalesce(back.error::jsonb, job.error)
    from unnest(q_ids, q_claims, q_kinds, q_delays, q_errors) as back (id, claim, kind, delay, error)
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
        headers, tags, error, progress, holders, marks
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
        ), progress, holders, marks
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

-- Moves what fell behind the cursors of some lanes (a late commit, a job given back) in front of them, a thousand jobs at
-- most; how many of each lane.
create function {schema}.surface_1(p_queues text[], p_priorities smallint[], p_befores timestamptz[])
returns table (queue text, priority smallint, moved bigint)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_nestloop = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
begin
return query
with behind as (
    select late.id
    from unnest(p_queues, p_priorities, p_befores) as lane (queue, priority, before)
    cross join lateral (
        select job.id from {schema}.job
        where job.status = 'queued' and job.queue = lane.queue and job.priority = lane.priority
            and job.scheduled_at < lane.before
        order by job.scheduled_at, job.id
        limit 1000
        for update skip locked
    ) as late
    limit 1000
), moved as (
    update {schema}.job set scheduled_at = now() where id = any(array(select id from behind))
    returning queue, priority
)
select queue, priority, count(*) from moved group by queue, priority;
end
$$;

-- Inserts jobs that have a dedup key, one at a time and in one order, so that two callers never wait crosswise. Returns
-- for each, by its place, the id of the job that exists now, whether it was inserted, and whether one was replaced.
-- p_lock_timeout bounds the wait for a key that an open transaction holds; null leaves it to the caller.
create function {schema}.enqueue_keyed_1(
    p_ids uuid[], p_names text[], p_queues text[], p_priorities smallint[], p_max_attempts smallint[],
    p_serializers text[], p_keeps float8[], p_args bytea[], p_headers text[], p_extras text[],
    p_keys text[], p_scopes text[], p_conflicts text[], p_lock_timeout text
) returns table (place integer, job_id uuid, inserted boolean, replaced boolean)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
declare
    n integer;
    due timestamptz;
    extra jsonb;
    names text[];
    replaces boolean; -- or debounces, which never starts a retry before its time
begin
if p_lock_timeout is not null then
    perform set_config('lock_timeout', p_lock_timeout, true);
end if;
for n in
    select k.place from unnest(p_names, p_keys) with ordinality as k (name, key, place)
    order by k.name collate "C", k.key collate "C", k.place
loop
    place := n;
    extra := p_extras[n]::jsonb;
    due := {schema}.due_1(extra);
    replaces := p_conflicts[n] = 'replace';
    loop
        inserted := false;
        replaced := false;
        insert into {schema}.job (
            id, name, queue, priority, max_attempts, serializer, args, headers, scheduled_at, timeout, expires_at, keep,
            keep_dead, tags, dedup_key, dedup_label, dedup_scope, status, held_by, holders, marks
        ) values (
            p_ids[n], p_names[n], p_queues[n], p_priorities[n], p_max_attempts[n], p_serializers[n], p_args[n],
            p_headers[n]::jsonb, due, (extra ->> 'timeout')::float8, {schema}.expires_1(extra),
            p_keeps[n], (extra ->> 'keep_dead')::float8, {schema}.tags_1(extra), p_keys[n], p_keys[n], p_scopes[n],
            case when extra ? 'held_by' then 'held' else 'queued' end, {schema}.holders_1(extra), {schema}.holders_1(extra),
            {schema}.marks_1(extra)
        ) on conflict do nothing;
        if found then
            job_id := p_ids[n];
            inserted := true;
            if extra ? 'marks' then
                insert into {schema}.owed (plugin, job_id, kind)
                select mark, p_ids[n], 'enqueued' from unnest({schema}.marks_1(extra)) as mark
                where mark = any({schema}.holders_1(extra));
            end if;
            exit;
        end if;
        select job.id into job_id from {schema}.job where job.name = p_names[n] and job.dedup_key = p_keys[n];
        if not found then
            select job.id into job_id from {schema}.job where job.id = p_ids[n]; -- sent twice, and has given its key up
        end if;
        continue when job_id is null; -- it ended in between: try to insert again
        inserted := job_id = p_ids[n]; -- sent twice, after a lost connection
        exit when inserted or p_conflicts[n] = 'keep';
        begin
            update {schema}.job set
                scheduled_at = case when replaces or job.attempt = 0 then due else greatest(due, job.scheduled_at) end,
                expires_at = {schema}.expires_1(extra),
                args = case when replaces then p_args[n] else job.args end,
                serializer = case when replaces then p_serializers[n] else job.serializer end,
                headers = case when replaces then p_headers[n]::jsonb else job.headers end,
                marks = {schema}.with_names_1(job.marks, {schema}.marks_1(extra), false)
            where job.name = p_names[n] and job.dedup_key = p_keys[n] and job.status in ('queued', 'held')
            returning job.id, job.marks into job_id, names;
            replaced := found;
            if not replaced then
                raise sqlstate 'SQ001'; -- to give up the lock on a row that it waited for and did not change
            end if;
            if extra ? 'held_by' then
                perform {schema}.hold_1(array[job_id], {schema}.holders_1(extra), false);
            end if;
            insert into {schema}.owed (plugin, job_id, kind)
            select mark, enqueue_keyed_1.job_id, 'replaced' from unnest(names) as mark;
        exception when sqlstate 'SQ001' then null;
        end;
        exit when replaced;
        select job.id into job_id from {schema}.job where job.name = p_names[n] and job.dedup_key = p_keys[n];
        exit when job_id is not null; -- it is running: what it runs with stays
    end loop;
    return next;
end loop;
end
$$;

-- When a new job is due, from its options: a time, never before now, or seconds from now. It and its like are bound to what
-- they name when they are made, whatever the search_path of who calls, and can be inlined.
create function {schema}.due_1(extra jsonb) returns timestamptz
language sql stable
return greatest(
    statement_timestamp() + make_interval(secs => coalesce((extra ->> 'delay')::float8, 0)),
    (extra ->> 'at')::timestamptz
);

create function {schema}.expires_1(extra jsonb) returns timestamptz
language sql stable
return coalesce(
    (extra ->> 'expires_at')::timestamptz,
    statement_timestamp() + make_interval(secs => (extra ->> 'expires')::float8)
);

create function {schema}.tags_1(extra jsonb) returns text[]
language sql immutable
return case when extra ? 'tags' then array(select jsonb_array_elements_text(extra -> 'tags')) end;

create function {schema}.holders_1(extra jsonb) returns text[]
language sql immutable
return case when extra ? 'held_by' then array(select jsonb_array_elements_text(extra -> 'held_by')) end;

create function {schema}.marks_1(extra jsonb) returns text[]
language sql immutable
return case when extra ? 'marks' then array(select jsonb_array_elements_text(extra -> 'marks')) end;

-- Which lanes (queue and priority) hold queued jobs, after a place and so many at most; when the first of each is due, and in
-- how many seconds; a lane is known by its rows alone. Each step goes to where the index has the next, however many lie between.
-- Rows without a priority are the queues that are paused.
create function {schema}.lanes_1(p_queue text, p_priority integer, p_limit integer)
returns table (queue text, priority smallint, scheduled_at timestamptz, due_in float8, first uuid)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
begin
return query
with recursive lane as (
    (
        select queue, priority, scheduled_at, id from {schema}.job
        where status = 'queued' and (queue, priority) > (p_queue, p_priority)
        order by queue, priority, scheduled_at, id
        limit 1
    )
    union all
    select next.queue, next.priority, next.scheduled_at, next.id
    from lane cross join lateral (
        select job.queue, job.priority, job.scheduled_at, job.id from {schema}.job
        where job.status = 'queued' and (job.queue, job.priority) > (lane.queue, lane.priority)
        order by job.queue, job.priority, job.scheduled_at, job.id
        limit 1
    ) as next
), seen as (
    select queue, priority, scheduled_at, date_part('epoch', scheduled_at - now()) as due_in, id from lane limit p_limit
)
select queue, priority, scheduled_at, due_in, id from seen
union all
select queue, null::smallint, null::timestamptz, null::float8, null::uuid from {schema}.paused_queue;
end
$$;

-- The same for the lanes of some queues, in their order; in the first of them after a priority.
create function {schema}.lanes_of_1(p_queues text[], p_priority integer, p_limit integer)
returns table (queue text, priority smallint, scheduled_at timestamptz, due_in float8)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
begin
return query
with seen as (
    select
        found.queue, found.priority, found.scheduled_at, date_part('epoch', found.scheduled_at - now()) as due_in
    from unnest(p_queues) with ordinality as wanted (queue, place)
    cross join lateral (
        with recursive lane as (
            (
                select job.queue, job.priority, job.scheduled_at from {schema}.job
                where job.status = 'queued' and job.queue = wanted.queue
                    and job.priority > case when wanted.place = 1 then p_priority else -32769 end
                order by job.priority, job.scheduled_at, job.id
                limit 1
            )
            union all
            select next.queue, next.priority, next.scheduled_at
            from lane cross join lateral (
                select job.queue, job.priority, job.scheduled_at from {schema}.job
                where job.status = 'queued' and job.queue = lane.queue and job.priority > lane.priority
                order by job.priority, job.scheduled_at, job.id
                limit 1
            ) as next
        )
        select queue, priority, scheduled_at from lane
    ) as found
    limit p_limit
)
select queue, priority, scheduled_at, due_in from seen
union all
select queue, null::smallint, null::timestamptz, null::float8 from {schema}.paused_queue where queue = any(p_queues);
end
$$;
