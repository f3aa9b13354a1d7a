-- As `series`, but without the buckets, which are most of what that costs.
with found as (
    select
        at, done, dead, cancelled, retry, snooze, lost, stopped, took, waited,
        case when $6 then queue end as of_queue, case when $7 then name end as of_name,
        case
            when $8::integer = $1 then at -- which is known when it is planned
            else date_bin(make_interval(mins => $8), at, to_timestamp(0))
        end as point
    from {schema}.series
    where tier = $1 and at >= $2 and at < $3 and ($4::text is null or queue = $4) and ($5::text is null or name = $5)
)
select
    point as at, of_queue, of_name, sum(done)::int8 as done, sum(dead)::int8 as dead, sum(cancelled)::int8 as cancelled,
    sum(retry)::int8 as retry, sum(snooze)::int8 as snooze, sum(lost)::int8 as lost, sum(stopped)::int8 as stopped,
    sum(took) as took, sum(waited) as waited, null as took_buckets, null as waited_buckets
from found group by point, of_queue, of_name order by point, of_queue, of_name
