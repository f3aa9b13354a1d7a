-- Of each lane, how many jobs are due and how many later, and for how long the first has been due. `$1` of each kind are
-- counted in all, and at least a hundred of a lane; `bound` of this one.
with lane as materialized (
    select queue, priority, due_in from {schema}.lanes_1('', -32769, 1000) where priority is not null
), share as materialized (
    select greatest(100, $1 / greatest(1, count(*))) as most from lane
)
select lane.queue, lane.priority, greatest(0, -lane.due_in) as oldest, most as bound, due.jobs as waiting, later.jobs as scheduled
from share cross join lane
cross join lateral (select count(*) as jobs from (
    select from {schema}.job
    where status = 'queued' and job.queue = lane.queue and job.priority = lane.priority and scheduled_at <= now() limit most
) as counted) as due
cross join lateral (select count(*) as jobs from (
    select from {schema}.job
    where status = 'queued' and job.queue = lane.queue and job.priority = lane.priority and scheduled_at > now() limit most
) as counted) as later
order by lane.queue, lane.priority
