-- How many of the oldest of what is alive, `$1` of them, are marked for each plugin.
select mark, count(*) as jobs
from (select marks from {schema}.job order by id limit $1) as oldest cross join unnest(marks) as mark group by mark order by mark
