-- Counts by queue and status, of jobs that are queued also how many are due, and for how many seconds the oldest of them
-- has been; what is finished is counted while it is kept.
select
    queue, status, count(*) as jobs, count(*) filter (where status = 'queued' and scheduled_at <= now()) as due,
    greatest(extract(epoch from now() - min(scheduled_at)), 0)::float8 as oldest_waiting
from {schema}.job group by queue, status
union all
select queue, status, count(*), 0, 0 from {schema}.history group by queue, status
order by queue, status
