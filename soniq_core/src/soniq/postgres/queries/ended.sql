-- How many of those that did not end well there are of each queue; the newest `$1` of each status are looked at.
select queue, 'dead' as status, count(*) as jobs from (
    select queue from {schema}.history where status = 'dead' and status <> 'done' order by id desc limit $1
) as newest group by queue
union all
select queue, 'cancelled', count(*) from (
    select queue from {schema}.history where status = 'cancelled' and status <> 'done' order by id desc limit $1
) as newest group by queue
