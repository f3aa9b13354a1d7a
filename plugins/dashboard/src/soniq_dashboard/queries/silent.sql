-- The workers that fell silent within so many seconds ($1), or the one of an id ($2), those that were seen last first.
select worker::text as worker from (
    select * from {schema}.silent union all select * from {schema}.overdue()
) as found
where seen_at > clock_timestamp() - make_interval(secs => $1) and ($2::uuid is null or id = $2)
order by seen_at desc limit 200
