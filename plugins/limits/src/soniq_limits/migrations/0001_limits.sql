-- {schema} is the plugin's own schema, {soniq} that of the core.

-- The limits by name: what holds now, and what the code last said.
create table {schema}.limits (
    name       text primary key,
    kind       text        not null check (kind in ('limit', 'sequence', 'rate', 'fair')),
    n          integer     not null check (n >= 0),
    declared   integer     not null,
    per        float8      check ((per is not null) = (kind = 'rate')), -- seconds
    changed_at timestamptz not null default now()
);

-- A row for each key that is in use. Who gives out slots of a key has its row locked, and never waits for it.
create table {schema}.key (
    key  text primary key,
    name text not null,                           -- of its limit
    due  timestamptz                              -- when a rate may have room again, or more are let go of a fair one
) with (fillfactor = 70);
create index key_of_limit on {schema}.key (name, key);
create index key_due on {schema}.key (due) where due is not null;

-- A slot is taken by a job that is there and that this plugin does not hold: these are counted, and nothing else.
create table {schema}.slot (
    job_id uuid not null,
    key    text not null,
    strict boolean not null,                      -- taken for as long as the job is there
    primary key (job_id, key)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
create index slot_of_key on {schema}.slot (key, job_id);

-- A start that a rate counts: from the release of its job until the rate's time, and a margin, has passed since it started.
-- One that has not started counts as if it started now.
create table {schema}.start (
    id     bigint generated always as identity primary key,
    key    text   not null,
    job_id uuid   not null,
    claim  bigint not null,                       -- how often the job had been claimed when it was let go
    at     timestamptz                            -- null: not started, as far as is known
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
create index start_of_key on {schema}.start (key, at);
create unique index start_to_come on {schema}.start (job_id, key) where at is null;

-- How long a start counts: its rate's time, and a margin for what passes between the note of a start and the start itself.
create function {schema}.counts_for_1(per float8) returns interval
language sql immutable
return make_interval(secs => per * 1.04);

-- The jobs that this plugin holds, and is the first to hold. One that needs several keys waits at one that has no room.
create table {schema}.waiting (
    job_id uuid primary key,
    keys   text[] not null,
    at     text,                                  -- the key; null: it is not due, or its queue is paused
    due    timestamptz,                           -- ... when it is; infinity: when its queue is not paused
    queue  text not null,
    check ((at is null) = (due is not null))
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
create index waiting_at on {schema}.waiting (at, job_id) where at is not null;
create index waiting_due on {schema}.waiting (due) where at is null;

-- What could not be looked at, as somebody had its row locked.
create table {schema}.again (
    id     bigint generated always as identity primary key,
    key    text,
    job_id uuid
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- Gives out what room keys have: the jobs to release, those of them that go behind all others that are due, as they are to be
-- fair, and the keys that could not be looked at. Locks the keys' rows, then
-- counts, in statements of their own, so that each sees what those before it in the lock had written. A limit that no app has
-- said yet has no room.
-- It waits for nobody. What changes rows of a job has locked the job's row, so that two never wait crosswise.
create function {schema}.admit_1(p_keys text[], out released uuid[], out behind uuid[], out busy text[])
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
    mine    text[];
    others  text[];
    counted text[];
    rooms   bigint[];
    picked  uuid[];
    passed  uuid[] := '{}';
    stuck   uuid[];
    unseen  text[];
    given   uuid[];
    now     timestamptz;
    rounds  integer := 0;
    timed   boolean;                              -- whether a key may be that of a rate, or a fair one
begin
released := '{}';
select coalesce(array_agg(key), '{}'), coalesce(bool_or(kind in ('rate', 'fair')), false) into mine, timed
from (
    select key.key, limits.kind from {schema}.key left join {schema}.limits using (name)
    where key.key = any(p_keys) order by key.key for update of key skip locked
) as locked;
if timed then
    now := clock_timestamp(); -- a variable can be looked for in an index
    delete from {schema}.start using {schema}.key, {schema}.limits
    where key.key = any(mine) and limits.name = key.name and limits.kind = 'rate'
        and start.key = key.key and start.at <= now - {schema}.counts_for_1(limits.per);
end if;
busy := array(select unnest(p_keys) except select unnest(mine));

loop
    now := clock_timestamp();
    select
        array_agg(distinct next.job_id), array_agg(distinct other) filter (where other is not null), array_agg(key.key),
        array_agg(free.room)
    into picked, others, counted, rooms
    from {schema}.key left join {schema}.limits using (name)
    cross join lateral (
        select coalesce(limits.n, 0) - case when limits.kind = 'rate' then (
            select count(*) from {schema}.start
            where start.key = key.key and (at is null or at > now - {schema}.counts_for_1(limits.per))
        ) else (
            select count(*) from {schema}.slot cross join lateral (
                select from {soniq}.job where job.id = slot.job_id
                    and (slot.strict or job.held_by is null or 'limits' <> all (job.held_by) or job.id = any(released))
                    and (limits.kind is distinct from 'fair' or job.status <> 'running')
                limit 1
            ) as taken
            where slot.key = key.key
        ) end as room
        offset 0 -- counted once, though it is used twice
    ) as free
    cross join lateral (
        select job_id, keys from {schema}.waiting
        where at = key.key and job_id <> all (passed)
        order by job_id limit greatest(free.room, 0)
    ) as next
    left join lateral (
        select other from unnest(case when cardinality(next.keys) > 1 then next.keys end) as other where other <> all (mine)
    ) as more on true
    where key.key = any(mine) and exists (select from {schema}.waiting where at = key.key);
    exit when picked is null;

    rounds := rounds + 1;
    if rounds > 50 then
        busy := busy || mine;
        exit;
    end if;

    if others is not null then
        mine := mine || array(
            select key from {schema}.key where key = any(others) order by key for update skip locked
        );
        timed := true; -- some of these may be
    end if;

    with job as materialized (
        select id, queue, held_by, scheduled_at, claim, status from {soniq}.job
        where id = any(picked) order by id for no key update skip locked
    ), paused as materialized (
        select queue from {soniq}.paused_queue
    ), strict as materialized (
        select waiting.job_id, key from {schema}.waiting cross join unnest(waiting.keys) as key
        join {schema}.limits on limits.name = split_part(key, '[', 1)
        where waiting.job_id = any(picked) and limits.kind = 'sequence'
    ), untold as materialized ( -- the first of a sequence that came in, and was not told of yet
        select key, min(owed.job_id::text)::uuid as job_id
        from {soniq}.owed cross join lateral (
            select headers -> 'soniq-limits' as keys from {soniq}.job where job.id = owed.job_id limit 1
        ) as its
        cross join jsonb_array_elements_text(case when jsonb_typeof(its.keys) = 'array' then its.keys end) as key
        where owed.plugin = 'limits' and (select count(*) from strict) > 0
            and owed.job_id < (select job_id from strict order by job_id desc limit 1)
        group by key
    ), early as materialized (
        select strict.job_id from strict join untold on untold.key = strict.key and untold.job_id < strict.job_id
    ), looked as materialized (
        select waiting.job_id, waiting.keys, waiting.at, job.queue, job.scheduled_at, case
            when job.id is null and exists (select from {soniq}.job as any_job where any_job.id = waiting.job_id) then 'locked'
            when job.id is null or coalesce(job.held_by[1] <> 'limits' and job.held_by @> '{limits}', false) then 'away'
            when job.held_by is null or not job.held_by @> '{limits}' then 'runs'
            when waiting.job_id in (select job_id from early) then 'locked'
            when job.scheduled_at > now or job.queue in (select queue from paused) then 'later'
            else 'fits'
        end as state
        from {schema}.waiting left join job on job.id = waiting.job_id
        where waiting.job_id = any(picked)
    ), place as materialized (
        select job_id, key, row_number() over (partition by key order by job_id) as place
        from looked cross join unnest(keys) as key
        where state = 'fits'
    ), known as materialized (
        select distinct key, room from unnest(counted, rooms) as known (key, room)
    ), free as materialized (
        select key, room from known
        union all
        select wanted.key, coalesce(limits.n, 0) - case when limits.kind = 'rate' then (
            select count(*) from {schema}.start
            where start.key = wanted.key and (at is null or at > now - {schema}.counts_for_1(limits.per))
        ) else (
            select count(*) from {schema}.slot cross join lateral (
                select from {soniq}.job where job.id = slot.job_id
                    and (slot.strict or job.held_by is null or 'limits' <> all (job.held_by) or job.id = any(released))
                    and (limits.kind is distinct from 'fair' or job.status <> 'running')
                limit 1
            ) as taken
            where slot.key = wanted.key
        ) end as room
        from (select key from place intersect select unnest(mine) except select key from known) as wanted (key)
        join {schema}.key using (key) left join {schema}.limits using (name)
    ), judged as materialized (
        select job_id, bool_and(coalesce(place <= room, false)) as fits, bool_or(room is null) as unseen
        from place left join free using (key)
        group by job_id
    ), taken as (
        delete from {schema}.waiting using looked left join judged on judged.job_id = looked.job_id
        where waiting.job_id = looked.job_id and waiting.keys = looked.keys
            and (looked.state in ('away', 'runs') or judged.fits)
        returning waiting.job_id, waiting.keys, looked.state
    ), slots as (
        insert into {schema}.slot (job_id, key, strict)
        select job_id, key, coalesce(limits.kind = 'sequence', false)
        from taken cross join unnest(keys) as key left join {schema}.limits on limits.name = split_part(key, '[', 1)
        where state <> 'away'
        on conflict do nothing
    ), starts as (
        insert into {schema}.start (key, job_id, claim)
        select wanted.key, taken.job_id, case when job.status = 'running' then job.claim - 1 else job.claim end
        from taken cross join unnest(keys) as wanted (key)
        join {schema}.limits on limits.name = split_part(wanted.key, '[', 1) and limits.kind = 'rate'
        join job on job.id = taken.job_id
        where state = 'fits' or not exists (
            select from {schema}.start
            where start.key = wanted.key and start.job_id = taken.job_id and start.claim >= job.claim
        )
        on conflict do nothing
    ), put_off as (
        update {schema}.waiting set
            at = null,
            due = case when looked.scheduled_at > now then looked.scheduled_at else 'infinity' end,
            queue = looked.queue
        from looked where waiting.job_id = looked.job_id and looked.state = 'later'
    ), room_left as materialized (
        select key, room - count(*) filter (where fits) as room
        from place join judged using (job_id) join free using (key)
        group by key, room
    ), moved as (
        update {schema}.waiting set at = (
            select key from room_left where key = any(waiting.keys) and room <= 0 order by key limit 1
        )
        from judged where waiting.job_id = judged.job_id and not judged.fits
            and exists (select from room_left where key = any(waiting.keys) and room <= 0)
        returning waiting.job_id
    )
    select
        array(select job_id from taken where state = 'fits'),
        array(
            select job_id from looked where state = 'locked'
            union all
            select job_id from judged where unseen and job_id not in (select job_id from moved)
        )
    into given, stuck;

    released := released || given;
    if stuck <> '{}' then
        passed := passed || stuck;
        busy := busy || array(select unnest(keys) from {schema}.waiting where job_id = any(stuck));
    end if;
    exit when cardinality(given) = cardinality(picked);
end loop;

if timed then
    update {schema}.key set due = now + interval '1 second' where key.key = any(mine) and name in (
        select name from {schema}.limits where kind = 'fair'
    ) and exists (select from {schema}.waiting where waiting.at = key.key);
    update {schema}.key set due = {schema}.counts_for_1(limits.per) + coalesce((
        select min(start.at) from {schema}.start
        where start.key = key.key and start.at > now - {schema}.counts_for_1(limits.per)
    ), now)
    from {schema}.limits
    where key.key = any(mine) and limits.name = key.name and limits.kind = 'rate'
        and exists (select from {schema}.waiting where waiting.at = key.key);
end if;
busy := array(select distinct unnest(busy));

behind := '{}';
if timed then
    behind := array(
        select distinct job_id from {schema}.slot
        where job_id = any(released) and split_part(key, '[', 1) in (select name from {schema}.limits where kind = 'fair')
    );
    released := array(select unnest(released) except select unnest(behind));
end if;
end
$$;

-- Dates the starts to come of jobs that were claimed since they were let go, and drops those of others; null: it is not known.
create function {schema}.started_1(p_ids uuid[], p_claims bigint[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_mergejoin = off
set jit = off
as $$
begin
perform from {schema}.start where job_id = any(p_ids) and at is null limit 1;
if found then
    with claimed as materialized (
        select id, max(claim) as claim from unnest(p_ids, p_claims) as claimed (id, claim) group by id
    ), begun as (
        update {schema}.start set at = clock_timestamp() from claimed
        where start.job_id = claimed.id and start.at is null and coalesce(claimed.claim > start.claim, true)
    )
    delete from {schema}.start using claimed
    where start.job_id = claimed.id and start.at is null and claimed.claim <= start.claim;
end if;
end
$$;

-- An attempt starts, of the claim p_claim, of a job with these rates: dates its starts to come, which are those that it was
-- let go for. `goes` is false, and nothing changed, where it was let go for an attempt before, which may have started, and of
-- which nobody was told: its worker died, or its database was away. A job that came by itself, as an operator let it go, is
-- counted beside. `per`: the shortest time of these rates.
create function {schema}.start_1(p_id uuid, p_keys text[], p_claim bigint, out goes boolean, out starts bigint[], out per float8)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
    untold boolean;
    beside text[];
begin
untold := exists (select from {soniq}.job where id = p_id and (suspect or deferrals > 0));
beside := array(
    select unnest(p_keys)
    except
    select key from {schema}.start where job_id = p_id and at is null and (claim >= p_claim - 1 or not untold)
);
goes := not exists (select from {schema}.slot where job_id = p_id and key = any(beside));
if goes then
    with dated as (
        update {schema}.start set at = clock_timestamp() where job_id = p_id and at is null returning id
    ), added as (
        insert into {schema}.start (key, job_id, claim, at)
        select key, p_id, p_claim, clock_timestamp() from unnest(beside) as key
        returning id
    )
    select array(select id from dated union all select id from added) into starts;
end if;
per := (select min(limits.per) from {schema}.limits where name in (select split_part(key, '[', 1) from unnest(p_keys) as key));
end
$$;

-- Jobs have ended, or are held again: gives up their slots, and gives out what has room then. What is held again needs its
-- keys; where it had no slots it is among `unknown`. p_rated are those that a rate may count, claimed p_claims times by now:
-- a start that was to come has come by then where its job was claimed since, and is given back where it was not.
create function {schema}.settled_1(
    p_ended uuid[], p_held uuid[], p_rated uuid[], p_claims bigint[],
    out released uuid[], out behind uuid[], out busy text[], out unknown uuid[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
    freed text[];
begin
perform {schema}.started_1(p_rated, p_claims);

with given_up as (
    delete from {schema}.slot where job_id = any(p_ended || p_held) and (not strict or job_id = any(p_ended))
    returning job_id, key
), ended as (
    delete from {schema}.waiting where job_id = any(p_ended) returning at
), again as (
    insert into {schema}.waiting (job_id, keys, at, due, queue)
    select
        job.id, given_up.keys, case when job.scheduled_at <= clock.now then given_up.keys[1] end,
        case when job.scheduled_at > clock.now then job.scheduled_at end, job.queue
    from (
        select job_id, array_agg(key order by key) as keys from given_up where job_id = any(p_held) group by job_id
    ) as given_up
    join {soniq}.job on job.id = given_up.job_id
    cross join (select clock_timestamp() as now) as clock
    where job.held_by[1] = 'limits'
    on conflict (job_id) do nothing
)
select array_agg(distinct key), array(select unnest(p_held) except select job_id from given_up)
into freed, unknown from given_up;

released := '{}';
behind := '{}';
busy := '{}';
if freed is not null then
    select admitted.released, admitted.behind, admitted.busy into released, behind, busy
    from {schema}.admit_1(freed) as admitted;
end if;
end
$$;

-- Looks at jobs, whatever has become of them, and at keys: p_ids are the jobs, k_ids and k_keys the keys of those that have
-- any, p_keys more keys. What somebody has locked is noted in `again`; remains says whether there is such a thing.
create function {schema}.look_1(
    p_ids uuid[], k_ids uuid[], k_keys text[], p_keys text[], out released uuid[], out behind uuid[],
    out remains boolean
)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
    mine  uuid[];
    gone  uuid[];
    later uuid[];
    free  uuid[];
    keys  text[];
    busy  text[];
begin
insert into {schema}.key (key, name)
select key, split_part(key, '[', 1) from (select distinct unnest(k_keys || p_keys) as key) as wanted
where not exists (select from {schema}.key as there where there.key = wanted.key)
order by key
on conflict do nothing;

mine := array(select id from {soniq}.job where id = any(p_ids) order by id for no key update skip locked);
gone := array(
    select each from unnest(p_ids) as each where not exists (select from {soniq}.job where job.id = any(array[each]))
);
later := array(select unnest(p_ids) except select unnest(mine) except select unnest(gone));

perform {schema}.started_1(array_agg(id), array_agg(claim)) from (
    select id, null as claim from unnest(gone) as id
    union all
    select id, claim from {soniq}.job where id = any(mine) and held_by @> '{limits}'
) as now;

with job as materialized (
    select
        job.id, job.queue, job.scheduled_at, job.claim, job.status, coalesce(job.held_by[1] = 'limits', false) as first,
        coalesce(job.held_by @> '{limits}', false) as held, given.keys,
        coalesce(job.scheduled_at <= clock_timestamp(), false) as due
    from {soniq}.job
    join (
        select id, array_agg(key order by key) as keys from unnest(k_ids, k_keys) as given (id, key)
        where not exists (select from {schema}.slot where slot.job_id = given.id and slot.key = given.key and slot.strict)
        group by id
    ) as given on given.id = job.id
    where job.id = any(mine)
), given_up as (
    delete from {schema}.slot
    where job_id = any(gone || array(select id from job where held)) and (not strict or job_id = any(gone))
    returning key
), kept as (
    insert into {schema}.slot (job_id, key, strict)
    select id, key, coalesce(limits.kind = 'sequence', false)
    from job cross join unnest(keys) as key left join {schema}.limits on limits.name = split_part(key, '[', 1)
    where not held and not exists (select from {schema}.slot where job_id = job.id)
    on conflict do nothing
    returning job_id, key
), counted as (
    insert into {schema}.start (key, job_id, claim)
    select kept.key, kept.job_id, case when job.status = 'running' then job.claim - 1 else job.claim end
    from kept join job on job.id = kept.job_id
    join {schema}.limits on limits.name = split_part(kept.key, '[', 1) and limits.kind = 'rate'
    where not exists (
        select from {schema}.start
        where start.key = kept.key and start.job_id = kept.job_id and start.claim >= job.claim
    )
    on conflict do nothing
), ended as (
    delete from {schema}.waiting where job_id = any(gone || array(select id from job where not first))
), waits as (
    insert into {schema}.waiting (job_id, keys, at, due, queue)
    select id, keys, case when due then keys[1] end, case when not due then scheduled_at end, queue from job where first
    order by id
    on conflict (job_id) do update set keys = excluded.keys, at = excluded.at, due = excluded.due, queue = excluded.queue
    returning at
)
select array(select key from given_up union select at from waits where at is not null union select unnest(p_keys)) into keys;

free := array( -- of a sequence, and of nothing else: it has its slot
    select id from {soniq}.job where id = any(mine) and held_by[1] = 'limits'
        and exists (select from {schema}.slot where slot.job_id = job.id and slot.strict)
        and not exists (select from {schema}.waiting where waiting.job_id = job.id)
);

select admitted.released || free, admitted.behind, admitted.busy into released, behind, busy
from {schema}.admit_1(keys) as admitted;
remains := busy <> '{}' or later <> '{}';
if remains then
    insert into {schema}.again (key, job_id)
    select key, null from unnest(busy) as key union all select null, id from unnest(later) as id;
end if;
end
$$;

-- What is to be looked at now: what was locked, jobs that are due, and those whose queue is not paused any more.
create function {schema}.due_1(p_limit integer, out keys text[], out ids uuid[])
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
    now constant timestamptz := clock_timestamp(); -- a variable can be looked for in an index
begin
with again as (
    delete from {schema}.again where id = any(array(
        select id from {schema}.again order by id limit p_limit for update skip locked
    ))
    returning key, job_id
), due as (
    update {schema}.waiting set at = waiting.keys[1], due = null
    where job_id = any(array(
        select job_id from {schema}.waiting where at is null and due <= now
        order by due limit p_limit for update skip locked
    )) or job_id = any(array(
        select job_id from {schema}.waiting where at is null and due = 'infinity'
            and not exists (select from {soniq}.paused_queue where paused_queue.queue = waiting.queue)
        limit p_limit for update skip locked
    ))
    returning at
), in_time as (
    update {schema}.key set due = null
    where key = any(array(
        select key from {schema}.key where due <= now order by due limit p_limit for update skip locked
    ))
    returning key
)
select
    array(select key from again where key is not null union select at from due union select key from in_time),
    array(select distinct job_id from again where job_id is not null)
into keys, ids;
end
$$;

-- The seconds until something is due; null: nothing is.
create function {schema}.wait_1() returns float8
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
begin
return extract(epoch from least(
    (select due from {schema}.waiting where at is null and due < 'infinity' order by due limit 1),
    (select due from {schema}.key where due is not null order by due limit 1)
) - clock_timestamp());
end
$$;

-- Lets jobs be held again that have slots and cannot start, as their queue is paused, where others wait for these: noted for
-- the plugin, which holds them in a hook.
create function {schema}.hold_paused_1(p_limit integer) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
insert into {soniq}.owed (plugin, kind, what)
select 'limits', 'note', jsonb_build_object('paused', jsonb_agg(id)) from (
    select job.id from {soniq}.job join {schema}.slot on slot.job_id = job.id
    where job.status = 'queued' and job.queue in (select queue from {soniq}.paused_queue)
        and exists (select from {schema}.waiting where waiting.at = slot.key)
        and not exists (select from {schema}.slot as its where its.job_id = job.id and its.strict)
    limit p_limit
) as stuck
having count(*) > 0 and not exists (
    select from {soniq}.owed where plugin = 'limits' and kind = 'note' and what ? 'paused'
)
$$;

-- Lets who is told next look at what is due: a worker that ends when nothing is due has no time to. A note that says nothing,
-- as who may only enqueue may write one.
create function {schema}.ask_1() returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
insert into {soniq}.owed (plugin, kind)
select 'limits', 'note' where exists (select from {schema}.waiting) and not exists (
    select from {soniq}.owed where plugin = 'limits' and kind = 'note' and what is null
)
$$;

-- What keys are made of, of jobs that came in without them.
create function {schema}.jobs_1(p_ids uuid[]) returns table (id uuid, name text, headers text, args bytea, serializer text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
select job.id, job.name, job.headers::text, job.args, job.serializer from {soniq}.job where job.id = any(p_ids)
$$;

-- Takes away what jobs left that are gone without a word, and keys that nobody uses; the keys that have room now.
create function {schema}.sweep_1(p_limit integer) returns text[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    freed  text[];
    unused text[];
begin
with gone as (
    delete from {schema}.slot where (job_id, key) in (
        select job_id, key from {schema}.slot where not exists (select from {soniq}.job where job.id = slot.job_id)
        limit p_limit for update skip locked
    )
    returning key
), ended as (
    delete from {schema}.waiting where job_id in (
        select job_id from {schema}.waiting where not exists (select from {soniq}.job where job.id = waiting.job_id)
        limit p_limit for update skip locked
    )
)
select array(select distinct key from gone) into freed;

update {schema}.start set at = clock_timestamp() where id in (
    select id from {schema}.start
    where at is null and not exists (select from {soniq}.job where job.id = start.job_id)
    limit p_limit for update skip locked
);
delete from {schema}.start where id in (
    select id from {schema}.start left join {schema}.limits on limits.name = split_part(start.key, '[', 1)
    where start.at <= coalesce(clock_timestamp() - {schema}.counts_for_1(limits.per), 'infinity')
    limit p_limit * 20 for update of start skip locked
);

unused := array(
    select key from {schema}.key
    where not exists (select from {schema}.slot where slot.key = key.key)
        and not exists (select from {schema}.waiting where waiting.at = key.key)
    limit p_limit for update skip locked
);
delete from {schema}.key where key = any(unused)
    and not exists (select from {schema}.slot where slot.key = key.key)
    and not exists (select from {schema}.waiting where waiting.at = key.key);
return freed;
end
$$;
