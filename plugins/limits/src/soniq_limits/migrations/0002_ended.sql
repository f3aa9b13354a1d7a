-- What most jobs with a limit need, in fewer and lighter statements: a plain limit of one key, that comes in where nobody waits,
-- and ends. All else is for look_1, settled_1 and admit_1, as before.

-- Dead entries of slots are marked as such by a scan of the index, and are read again and again by one of a bitmap.
alter function {schema}.look_1(uuid[], uuid[], text[], text[]) set enable_bitmapscan = off;
alter function {schema}.settled_1(uuid[], uuid[], uuid[], bigint[]) set enable_bitmapscan = off;

-- Jobs came in (k_ids), each with one key of its own (k_keys): gives slots to those that wait for nobody, and lets the others
-- wait. `free` are those that may go, to be released before anything else is counted, `told` all that need no other look, and
-- `busy` the keys that do.
-- It counts all slots, also those that do not count, which is too careful and cheap; where that leaves no room for any, next_1
-- looks closely, at keys of which no slot was given here.
create function {schema}.arrived_1(
    k_ids uuid[], k_keys text[], out free uuid[], out told uuid[], out busy text[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_mergejoin = off
set jit = off
as $$
declare
    mine   text[];
    jobs   uuid[];
    full_  text[];
    more   uuid[];
    locked text[];
    hard   boolean;
begin
insert into {schema}.key (key, name)
select wanted.key, split_part(wanted.key, '[', 1) from (select distinct unnest(k_keys) as key) as wanted
where not exists (select from {schema}.key as there where there.key = wanted.key)
order by wanted.key
on conflict do nothing;

mine := array(
    select key.key from {schema}.key
    where key.key = any(k_keys) and key.name in (select limits.name from {schema}.limits where limits.kind = 'limit')
    order by key.key for update skip locked
);
jobs := array(
    select job.id from {soniq}.job
    where job.id = any(k_ids) and job.status = 'held' and job.held_by[1] = 'limits' and job.scheduled_at <= clock_timestamp()
        and not exists (select from {soniq}.paused_queue where paused_queue.queue = job.queue)
    order by job.id for no key update skip locked
);
jobs := array(
    select unnest(jobs)
    except all (
        select slot.job_id from {schema}.slot where slot.job_id = any(jobs)
        union all
        select waiting.job_id from {schema}.waiting where waiting.job_id = any(jobs)
        union all
        select start.job_id from {schema}.start where start.job_id = any(jobs) and start.at is null
    )
);

with came as materialized ( -- hashes, as an array would be searched for each; and no join of all with all
    select given.key, array_agg(given.id order by given.id) as ids from unnest(k_ids, k_keys) as given (id, key)
    where (given.id in (select unnest(jobs))) is true and (given.key in (select unnest(mine))) is true
    group by given.key
), room as materialized (
    select came.key, came.ids, case
        when exists (select from {schema}.waiting where waiting.at = came.key) then 0
        else greatest(limits.n - (select count(*) from {schema}.slot where slot.key = came.key), 0)
    end as room
    from came join {schema}.limits on limits.name = split_part(came.key, '[', 1)
), given as (
    insert into {schema}.slot (job_id, key, strict) select unnest(room.ids[:room.room]), room.key, false from room
    on conflict do nothing
    returning slot.job_id
), waits as (
    insert into {schema}.waiting (job_id, keys, at, queue)
    select late.id, array[room.key], room.key, (select job.queue from {soniq}.job where job.id = late.id)
    from room cross join lateral unnest(room.ids[room.room + 1:]) as late (id)
    on conflict do nothing
    returning waiting.job_id
)
select
    array(select given.job_id from given), array(select waits.job_id from waits),
    array(select room.key from room where room.room = 0)
into free, told, full_;
told := free || told;
busy := '{}';
if full_ <> '{}' then
    select next.released, next.busy, next.hard into more, locked, hard from {schema}.next_1(full_) as next;
    free := free || more;
    busy := case when hard then full_ else locked end;
end if;
end
$$;

-- Lets the next of those go that wait at keys of plain limits and for no other key. `hard`: not all is so simple, and nothing
-- was done but to lock keys.
create function {schema}.next_1(p_keys text[], out released uuid[], out busy text[], out hard boolean)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_mergejoin = off
set jit = off
as $$
declare
    mine   text[];
    picked uuid[];
    places text[];
    alone  boolean;
    locked bigint;
begin
released := '{}';
mine := array(select key.key from {schema}.key where key.key = any(p_keys) order by key.key for update skip locked);
busy := array(select unnest(p_keys) except select unnest(mine));

select array_agg(next.job_id), array_agg(key.key), bool_and(limits.kind = 'limit' and cardinality(next.keys) = 1)
into picked, places, alone
from {schema}.key join {schema}.limits on limits.name = key.name
cross join lateral (
    select case when limits.kind = 'limit' then limits.n - (
        select count(*) from {schema}.slot cross join lateral (
            select from {soniq}.job
            where job.id = slot.job_id and (slot.strict or job.held_by is null or 'limits' <> all (job.held_by))
            limit 1
        ) as taken
        where slot.key = key.key
    ) else 1 end as room
    offset 0
) as free
cross join lateral (
    select waiting.job_id, waiting.keys from {schema}.waiting
    where waiting.at = key.key order by waiting.job_id limit greatest(free.room, 0)
) as next
where key.key = any(mine) and exists (select from {schema}.waiting where waiting.at = key.key);
hard := not coalesce(alone, true);
if hard or picked is null then
    return;
end if;

locked := count(*) from (
    select from {soniq}.job
    where job.id = any(picked) and job.status = 'held' and job.held_by[1] = 'limits' and job.scheduled_at <= clock_timestamp()
        and not exists (select from {soniq}.paused_queue where paused_queue.queue = job.queue)
    for no key update skip locked
) as job;
hard := locked < cardinality(picked);
if hard then
    return;
end if;

with taken as (
    delete from {schema}.waiting
    where waiting.job_id = any(picked) and cardinality(waiting.keys) = 1
        and ((waiting.job_id, waiting.at) in (select * from unnest(picked, places))) is true
    returning waiting.job_id, waiting.at
), slots as (
    insert into {schema}.slot (job_id, key, strict) select taken.job_id, taken.at, false from taken on conflict do nothing
)
select array(select taken.job_id from taken) into released;
if cardinality(released) < cardinality(picked) then
    busy := busy || array(select distinct unnest(places));
end if;
end
$$;

-- Jobs have ended: gives up their slots, and gives out what room their keys have then, as settled_1 does; the core calls it in
-- the statement that settles them.
create function {schema}.ended_1(
    p_ids uuid[], p_statuses text[], p_claims bigint[], out released uuid[], out last uuid[], out note jsonb
)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_mergejoin = off
set jit = off
as $$
declare
    freed text[];
    busy  text[];
    rates constant boolean := exists (select from {schema}.limits where limits.kind = 'rate');
    hard  boolean := false;
begin
if rates then
    perform {schema}.started_1(p_ids, p_claims);
end if;

with given_up as (
    delete from {schema}.slot where slot.job_id = any(p_ids) returning slot.key
), gone as (
    delete from {schema}.waiting where waiting.job_id = any(p_ids)
)
select array_agg(distinct given_up.key) into freed from given_up;
released := '{}';
last := '{}';
if freed is null then
    return;
end if;

if rates then -- admit_1 also takes away starts of theirs that do not count any more
    hard := exists (
        select from {schema}.key join {schema}.limits on limits.name = key.name
        where key.key = any(freed) and limits.kind = 'rate'
    );
end if;
if not hard then
    select next.released, next.busy, next.hard into released, busy, hard from {schema}.next_1(freed) as next;
end if;
if hard then
    select admitted.released, admitted.behind, admitted.busy into released, last, busy
    from {schema}.admit_1(freed) as admitted;
end if;
if busy <> '{}' then
    note := jsonb_build_object('keys', busy);
end if;
end
$$;

-- admit_1 as before, but that none of a sequence goes before one that could not be looked at, as somebody has its row locked, or
-- that was told of meanwhile.
create or replace function {schema}.admit_1(p_keys text[], out released uuid[], out behind uuid[], out busy text[])
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
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
        where at = key.key and job_id <> all (passed) and job_id < coalesce(
            case when limits.kind = 'sequence' and passed <> '{}' then (
                select before.job_id from {schema}.waiting as before
                where before.at = key.key and before.job_id = any(passed) order by before.job_id limit 1
            ) end,
            'ffffffff-ffff-ffff-ffff-ffffffffffff' -- none has this id
        )
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
        union
        select strict.job_id from strict where exists ( -- told of since they were picked
            select from {schema}.waiting as before
            where before.at = strict.key and before.job_id < strict.job_id and before.job_id <> all (picked)
        )
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
