-- What was counted from $2 to $3: first as `series` of all jobs, in rows of the tier $1 and points of $4 minutes; where finer
-- counts are drawn than durations, these in rows of the tier $7, without the buckets, which are most of what that costs; then
-- since $6, in rows of the tier $5, for each job of all that time, without them, too; and the samples of all queues from $2 to
-- $3, in points of $8 minutes, as `gauges`. `fine`: a count without durations.
with found as (
    select *, case
        when $4::integer = $1 then at -- which is known when it is planned
        else date_bin(make_interval(mins => $4), at, to_timestamp(0))
    end as point
    from {schema}.series where tier = $1 and at >= $2 and at < $3
)
select
    false as fine, point as at, null::text as of_queue, null::text as of_name, sum(done)::int8 as done, sum(dead)::int8 as dead,
    sum(cancelled)::int8 as cancelled, sum(retry)::int8 as retry, sum(snooze)::int8 as snooze, sum(lost)::int8 as lost,
    sum(stopped)::int8 as stopped, sum(took) as took, sum(waited) as waited, {summed:took_buckets}, {summed:waited_buckets},
    null::jsonb as gauge
from found group by point
union all
select
    true, at, null, null, sum(done)::int8, sum(dead)::int8, sum(cancelled)::int8, sum(retry)::int8, sum(snooze)::int8,
    sum(lost)::int8, sum(stopped)::int8, sum(took), sum(waited), null, null, null
from {schema}.series where $7::integer < $1 and tier = $7 and at >= $2 and at < $3 group by at
union all
select
    false, $6, null, name, sum(done)::int8, sum(dead)::int8, sum(cancelled)::int8, sum(retry)::int8, sum(snooze)::int8,
    sum(lost)::int8, sum(stopped)::int8, sum(took), sum(waited), null, null, null
from {schema}.series where tier = $5 and at >= $6 and at < $3 group by name
union all
select false, at, null, null, 0, 0, 0, 0, 0, 0, 0, 0, 0, null, null, to_jsonb(sampled)
from (
    select
        date_bin(make_interval(mins => $8), at, to_timestamp(0)) as at, max(oldest) as oldest, max(waiting) as waiting,
        max(scheduled) as scheduled, max(running) as running, max(held) as held, max(workers) as workers,
        max(slots) as slots, max(busy) as busy, max(deploy) as deploy
    from {schema}.gauge where at >= $2 and at < $3 and queue = '' group by 1
) as sampled
