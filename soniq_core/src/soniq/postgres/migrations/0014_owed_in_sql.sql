-- oldest: 1
-- What a plugin is owed of jobs that came in, done by a function of its own, in the one statement that takes it.

-- Takes what is owed to p_plugin and due, in order, so much at most, and has its function p_function do what is to be done for
-- jobs that came in: `told` are those that it is done with, the rest is as that of a function which is told of ends. What
-- it is not done with, and all that is owed of another kind, stays owed. c_queues and so on are the cursors of lanes, for
-- release_2. The first row says how much was told, and how much of what was taken is left; those behind it where
-- jobs were let go, and one without a queue that a plugin is owed something.
create function {schema}.tell_owed_1(
    p_plugin text, p_function text, p_limit integer,
    c_queues text[], c_priorities smallint[], c_times timestamptz[], c_ids uuid[]
) returns table (r_told bigint, r_left bigint, r_queue text, r_priority smallint, r_scheduled_at timestamptz)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_mergejoin = off
set jit = off
set lock_timeout = '500ms'
as $$
declare
    came bigint[];
    jobs uuid[];
    told uuid[];
    goes uuid[];
    last uuid[];
    note jsonb;
begin
select
    count(*), array_agg(taken.id) filter (where taken.came_in), array_agg(distinct taken.job_id) filter (where taken.came_in)
into r_left, came, jobs
from (
    select owed.id, owed.job_id, owed.kind = 'enqueued' and owed.tries = 0 as came_in
    from {schema}.owed where owed.plugin = p_plugin and owed.due <= clock_timestamp()
    order by owed.id limit p_limit for update skip locked
) as taken;

r_told := 0;
if jobs is not null then
    execute format('select told, released, last, note from %s($1)', p_function) into told, goes, last, note using jobs;
    delete from {schema}.owed where owed.id = any(came) and (owed.job_id in (select unnest(told))) is true;
    get diagnostics r_told = row_count;
    r_left := r_left - r_told;
end if;
return next;

r_told := null;
r_left := null;
if note is not null then
    insert into {schema}.owed (plugin, kind, what) values (p_plugin, 'note', note);
end if;
return query
select null::bigint, null::bigint, place.queue, place.priority, min(place.scheduled_at) from (
    select case when gone.held_by is null then gone.queue end as queue, gone.priority, gone.scheduled_at
    from {schema}.release_2(goes, p_plugin, c_queues, c_priorities, c_times, c_ids, false, clock_timestamp()) as gone
    where goes <> '{}'
    union all
    select case when gone.held_by is null then gone.queue end, gone.priority, gone.scheduled_at
    from {schema}.release_2(last, p_plugin, c_queues, c_priorities, c_times, c_ids, true, clock_timestamp()) as gone
    where last <> '{}'
    union all
    select null, null, null where note is not null
) as place
group by place.queue, place.priority;
end
$$;
