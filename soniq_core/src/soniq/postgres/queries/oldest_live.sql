-- How many of the oldest of what is alive there are of each queue and status; `$1` are looked at.
select queue, status, count(*) as jobs
from (select queue, status from {schema}.job order by id limit $1) as oldest group by queue, status
