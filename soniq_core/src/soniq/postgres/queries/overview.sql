-- Counts by queue and status; what is finished is counted while it is kept.
select queue, status, count(*) as jobs from {schema}.job group by queue, status
union all
select queue, status, count(*) from {schema}.history group by queue, status
order by queue, status
