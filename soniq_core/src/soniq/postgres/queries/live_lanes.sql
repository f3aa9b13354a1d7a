-- Of each lane, how many jobs are due and how many later, and for how long the first has been due: `$1` of each kind are counted
-- in all, and at least a hundred of a lane; `bound` of this one. And how many jobs of each name are in front of a lane: `$2`
-- are looked at in all, and at least ten of a lane; none for 0. Then, in rows without a priority, how many of the jobs that live
-- workers ran when they were last seen run now, by queue: `$3` at most.
with lane as materialized (
    select queue, priority, due_in from {schema}.lanes_1('', -32769, 1000) where priority is not null
), share as materialized (
    select
        greatest(100, $1 / greatest(1, count(*))) as most, case when $2 > 0 then greatest(10, $2 / greatest(1, count(*))) end as first
    from lane
)
select
    lane.queue, lane.priority, greatest(0, -lane.due_in) as oldest, most as bound, due.jobs as waiting, later.jobs as scheduled,
    front.names, front.jobs as of_names, 0::int8 as running
from share cross join lane
cross join lateral (select count(*) as jobs from (
    select from {schema}.job
    where status = 'queued' and job.queue = lane.queue and job.priority = lane.priority and scheduled_at <= now() limit most
) as counted) as due
cross join lateral (select count(*) as jobs from (
    select from {schema}.job
    where status = 'queued' and job.queue = lane.queue and job.priority = lane.priority and scheduled_at > now() limit most
) as counted) as later
cross join lateral (select array_agg(name) as names, array_agg(jobs) as jobs from (
    select name, count(*) as jobs from (
        select name from {schema}.job
        where first is not null and status = 'queued' and job.queue = lane.queue and job.priority = lane.priority
        order by scheduled_at, id limit first
    ) as looked_at group by name
) as by_name) as front
union all
select queue, null, null, null, null, null, null, null, count(*) from {schema}.job
where status = 'running' and id = any(array(
    select (each ->> 0)::uuid from {schema}.worker cross join jsonb_array_elements(running_jobs) as each
    where seen_at + make_interval(secs => lease) > clock_timestamp() limit $3
))
group by queue
