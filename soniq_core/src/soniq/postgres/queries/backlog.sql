-- What each queue holds that is not finished; of the oldest job that is due, the seconds it has been so.
select
    queue,
    count(*) filter (where status = 'queued' and scheduled_at <= now()) as waiting,
    count(*) filter (where status = 'queued' and scheduled_at > now()) as scheduled,
    count(*) filter (where status = 'running') as running,
    count(*) filter (where status = 'held') as held,
    coalesce(
        extract(epoch from now() - min(scheduled_at) filter (where status = 'queued' and scheduled_at <= now())), 0
    )::float8 as oldest_waiting
from {schema}.job group by queue order by queue
