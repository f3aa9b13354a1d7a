-- oldest: 1
-- Jobs that are held: for plugins that say when a job may run, and for a person who lets it go.

-- Lets jobs go that p_holder holds, or from all holders where that is null; a job that nobody holds then is queued. Returns
-- those that this changed, with who holds them still.
-- A job that is due gets a place in its lane: its own, if that was not passed yet, or else before the first job that waits
-- there. That is looked for behind the lane's cursor, where the caller has one (l_queues and so on), else from its start.
-- With p_last its place is behind all that are due.
-- Two that let one job go at once both do: the second waits for the row, and looks at what is left of held_by.
create function {schema}.release_1(
    p_ids uuid[], p_holder text, l_queues text[], l_priorities smallint[], l_times timestamptz[], l_ids uuid[], p_last boolean
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
with clock as materialized (
    select clock_timestamp() as now
), lane as materialized (
    select held.queue, held.priority, least(first.scheduled_at, (select now from clock)) as place
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
            when scheduled_at <= (select now from clock) and (p_holder is null or array_remove(held_by, p_holder) = '{}')
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

-- Takes what is owed to a plugin and due, in order, so much at most, with what the jobs are now.
create function {schema}.take_owed_1(p_plugin text, p_limit integer) returns table (
    id bigint, job_id uuid, kind text, at timestamptz, tries smallint, what text, name text, queue text, headers text,
    held_by text[], scheduled_at timestamptz
)
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
with taken as (
    delete from {schema}.owed where id = any(array(
        select id from {schema}.owed where plugin = p_plugin and due <= clock_timestamp()
        order by id limit p_limit for update skip locked
    ))
    returning id, job_id, kind, at, tries, what
)
select
    taken.id, taken.job_id, taken.kind, taken.at, taken.tries, taken.what::text, now.name, now.queue, now.headers::text,
    now.held_by, now.scheduled_at
from taken left join lateral (
    select job.name, job.queue, job.headers, job.held_by, job.scheduled_at from {schema}.job
    where job.id = any(array[taken.job_id])
) as now on true
order by taken.id;
end
$$;

-- Holds jobs that wait, for some holders: before those who hold them already, or behind. One that was claimed stays so,
-- and one that is to be cancelled is queued, so that a claim finds that out.
create function {schema}.hold_1(p_ids uuid[], p_holders text[], p_first boolean) returns table (id uuid)
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
update {schema}.job set
    status = 'held',
    held_by = {schema}.with_names_1(held_by, p_holders, p_first),
    holders = {schema}.with_names_1(holders, p_holders, p_first)
where id = any(p_ids) and status in ('queued', 'held') and not cancel_requested
returning id;
end
$$;

-- Marks jobs that wait, for plugins that are owed that they came in.
create function {schema}.mark_1(p_ids uuid[], p_marks text[]) returns table (id uuid)
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
with marked as (
    update {schema}.job set marks = {schema}.with_names_1(marks, p_marks, false)
    where id = any(p_ids) and status in ('queued', 'held')
    returning id
), owing as (
    insert into {schema}.owed (plugin, job_id, kind) select mark, id, 'enqueued' from marked cross join unnest(p_marks) as mark
)
select id from marked;
end
$$;

-- Names, and those of some more that are new, before or behind them.
create function {schema}.with_names_1(names text[], added text[], first boolean) returns text[]
language sql immutable
return case
    when names is null then added
    when first then array(select name from unnest(added) as name where name <> all (names)) || names
    else names || array(select name from unnest(added) as name where name <> all (names))
end;

create function {schema}.expired_1(p_limit integer) returns table (id uuid)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
#variable_conflict use_column
begin
return query
select id from {schema}.job
where status = 'held' and expires_at is not null and expires_at <= statement_timestamp()
order by expires_at
limit p_limit;
end
$$;

-- Lets jobs go in the caller's transaction: of one holder, or of all where none is named. How many are queued now.
-- Workers are told at the commit, also those that were not asleep before: it may be a while until then.
create function {schema}.release(ids uuid[], holder text default null, last boolean default false) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    count bigint;
    lanes text;
begin
    with released as materialized (
        select queue, priority, scheduled_at, held_by from {schema}.release_1(ids, holder, '{}', '{}', '{}', '{}', last)
    )
    select (select count(*) from released where held_by is null), string_agg(lane, e'\n') into count, lanes
    from (
        select format(e'%s\t%s\t%s', queue, priority, (extract(epoch from min(scheduled_at)) * 1000000)::bigint) as lane
        from released where held_by is null and scheduled_at <= clock_timestamp()
        group by queue, priority
        union all
        select e'\x01owed' from released having count(held_by) > 0
    ) as due;

    if lanes is not null then
        perform pg_notify(btrim('{schema}', '"'), case when octet_length(lanes) <= 7000 then lanes else '' end)
        where exists (select from {schema}.worker where seen_at + make_interval(secs => lease) > clock_timestamp());
    end if;
    return count;
end
$$;
