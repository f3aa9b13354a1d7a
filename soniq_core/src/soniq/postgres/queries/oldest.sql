-- The job that has been due for the longest time, and for how many seconds.
select id, name, queue, scheduled_at, extract(epoch from now() - scheduled_at)::float8 as waiting
from {schema}.job where status = 'queued' and scheduled_at <= now()
order by scheduled_at limit 1
