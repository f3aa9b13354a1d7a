-- How many jobs of each name are in front of the lanes. `$1` are looked at in all, and at least ten of a lane.
with lane as materialized (
    select queue, priority from {schema}.lanes_1('', -32769, 1000) where priority is not null
), share as materialized (
    select greatest(10, $1 / greatest(1, count(*))) as most from lane
)
select name, count(*) as jobs
from share cross join lane
cross join lateral (
    select name from {schema}.job
    where status = 'queued' and job.queue = lane.queue and job.priority = lane.priority order by scheduled_at, id limit most
) as front
group by name
