-- Jobs that came in, told of in the statement that takes what is owed; and who ends a job of a key where nobody waits is in
-- nobody's way who gives out slots of it.

-- Jobs came in (p_ids): gives slots to those that have one key, a plain limit's, with room for all that came for it, and where
-- nobody waits; what else has one key is for arrived_1. `told` are those that need no other look.
--
-- It locks keys `for no key update`: two that give out slots of one still exclude each other, and those that end jobs, who
-- lock it `for key share` where nobody waits, are not in its way, nor it in theirs. Who lets a job wait locks the key `for
-- update`, against both.
create function {schema}.came_1(p_ids uuid[], out told uuid[], out released uuid[], out last uuid[], out note jsonb)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_mergejoin = off
set jit = off
as $$
declare
    ids    uuid[];
    keys   text[];
    wanted text[];
    mine   text[];
    rest   uuid[];
    places text[];
    busy   text[];
    rates constant boolean := exists (select from {schema}.limits where limits.kind = 'rate');
begin
last := '{}';
select array_agg(came.id), array_agg(came.key), array_agg(distinct came.key) into ids, keys, wanted from (
    select job.id, job.headers #>> '{soniq-limits,0}' as key from {soniq}.job
    where job.id = any(p_ids) and job.status = 'held' and job.held_by[1] = 'limits' and job.scheduled_at <= clock_timestamp()
        and case when jsonb_typeof(job.headers -> 'soniq-limits') = 'array'
            then jsonb_array_length(job.headers -> 'soniq-limits') = 1 end
        and (split_part(job.headers #>> '{soniq-limits,0}', '[', 1) in (
            select limits.name from {schema}.limits where limits.kind = 'limit'
        )) is true
        and not exists (select from {soniq}.paused_queue where paused_queue.queue = job.queue)
    order by job.id for no key update skip locked
) as came;
if ids is null then
    told := '{}';
    released := '{}';
    return;
end if;

mine := array(
    select key.key from {schema}.key where key.key = any(wanted) order by key.key for no key update skip locked
);
if cardinality(mine) < cardinality(wanted) then
    insert into {schema}.key (key, name)
    select missing, split_part(missing, '[', 1) from (
        select unnest(wanted) except select key.key from {schema}.key where key.key = any(wanted)
    ) as none (missing)
    order by missing
    on conflict do nothing;
    if found then
        mine := mine || array(
            select key.key from {schema}.key
            where key.key = any(wanted) and key.key <> all (mine)
            order by key.key for no key update skip locked
        );
    end if;
end if;

with came as materialized ( -- a hash, as an array would be searched for each; and rows of tables one by one, not all of them
    select given.key, array_agg(given.id) as ids from unnest(ids, keys) as given (id, key)
    where (given.key in (select unnest(mine))) is true
        and (select 1 from {schema}.slot where slot.job_id = given.id limit 1) is null
        and (select 1 from {schema}.waiting where waiting.job_id = given.id limit 1) is null
        and (not rates or (select 1 from {schema}.start where start.job_id = given.id and start.at is null limit 1) is null)
    group by given.key
), given as (
    insert into {schema}.slot (job_id, key, strict) select unnest(came.ids), came.key, false
    from came join {schema}.limits on limits.name = split_part(came.key, '[', 1)
    where (select 1 from {schema}.waiting where waiting.at = came.key limit 1) is null
        and (select count(*) from {schema}.slot where slot.key = came.key) <= limits.n - cardinality(came.ids)
    returning slot.job_id
)
select array(select given.job_id from given) into released;
told := released;

if cardinality(released) < cardinality(ids) then
    select array_agg(came.id), array_agg(came.key) into rest, places from unnest(ids, keys) as came (id, key)
    where (came.id in (select unnest(told))) is not true;
    select came_1.released || next.free, came_1.told || next.told, next.busy into released, told, busy
    from {schema}.arrived_1(rest, places) as next;
    if busy <> '{}' then
        note := jsonb_build_object('keys', busy);
    end if;
end if;
end
$$;

-- As before, but that it locks a key where nobody waits only against those who let a job wait there.
create or replace function {schema}.ended_1(
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
    freed  text[];
    wanted text[];
    mine   text[];
    busy   text[];
    locked text[];
    rates constant boolean := exists (select from {schema}.limits where limits.kind = 'rate');
    hard   boolean := false;
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
    wanted := array(
        select key from unnest(freed) as key where (select 1 from {schema}.waiting where waiting.at = key limit 1) = 1
    );
    if cardinality(wanted) < cardinality(freed) then
        freed := array(select unnest(freed) except select unnest(wanted));
        mine := array(select key.key from {schema}.key where key.key = any(freed) for key share skip locked);
        if cardinality(mine) < cardinality(freed) then
            locked := array(select unnest(freed) except select unnest(mine));
        end if;
        -- Seen now that nobody can come to wait there before this is committed
        wanted := wanted || array(
            select key from unnest(mine) as key where (select 1 from {schema}.waiting where waiting.at = key limit 1) = 1
        );
    end if;
    if wanted <> '{}' then
        select next.released, next.busy, next.hard into released, busy, hard from {schema}.next_1(wanted) as next;
    end if;
end if;
if hard then
    select admitted.released, admitted.behind, admitted.busy into released, last, busy
    from {schema}.admit_1(case when wanted is null then freed else wanted end) as admitted;
end if;
busy := busy || locked;
if busy <> '{}' then
    note := jsonb_build_object('keys', busy);
end if;
end
$$;

-- As before, but that nothing is looked for where no queue is paused.
create or replace function {schema}.hold_paused_1(p_limit integer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
if not exists (select from {soniq}.paused_queue) then
    return;
end if;

insert into {soniq}.owed (plugin, kind, what)
select 'limits', 'note', jsonb_build_object('paused', jsonb_agg(stuck.id)) from (
    select job.id from {soniq}.job join {schema}.slot on slot.job_id = job.id
    where job.status = 'queued' and job.queue in (select paused_queue.queue from {soniq}.paused_queue)
        and exists (select from {schema}.waiting where waiting.at = slot.key)
        and not exists (select from {schema}.slot as its where its.job_id = job.id and its.strict)
    limit p_limit
) as stuck
having count(*) > 0 and not exists (
    select from {soniq}.owed where owed.plugin = 'limits' and owed.kind = 'note' and owed.what ? 'paused'
);
end
$$;
