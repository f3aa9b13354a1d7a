-- How many of the newest of what is finished there are of each queue and status; `$1` are looked at.
select queue, status, count(*) as jobs
from (select queue, status from {schema}.history order by id desc limit $1) as newest group by queue, status
