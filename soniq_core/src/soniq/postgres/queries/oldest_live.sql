-- What the oldest of what is alive are, `$1` of them: by queue, name and status, how many, how many of them are due, and for
-- how long the first has been so; how many are marked for plugins.
select
    queue, name, status, count(*) as jobs, count(*) filter (where scheduled_at <= now()) as due,
    date_part('epoch', now() - min(scheduled_at)) as waiting, count(marks) as marked
from (select queue, name, status, scheduled_at, marks from {schema}.job order by id limit $1) as oldest
group by queue, name, status
