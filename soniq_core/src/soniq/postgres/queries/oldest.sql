-- The job that has been due for the longest time, and for how many seconds: the oldest of the first of each lane.
select id, name, queue, scheduled_at, date_part('epoch', now() - scheduled_at) as waiting
from {schema}.job_1((
    select first from {schema}.lanes_1('', -32769, 2147483647) where due_in <= 0 order by due_in, first limit 1
)) where status = 'queued'
