-- What is alive, by queue and status: how many, how many of them are due, and for how long the first has been so.
select
    queue, status, count(*) as jobs, count(*) filter (where scheduled_at <= now()) as due,
    date_part('epoch', now() - min(scheduled_at)) as waiting
from {schema}.job group by queue, status order by queue, status
