-- The samples of a queue from one time to another: of each `$4` minutes the highest of each. What came is written down with
-- all queues together (''). Times at which the queue held nothing, so that it has no sample, are there where $5, unless it may
-- be one of those that are sampled together ($6).
select
    date_bin(make_interval(mins => $4), at, to_timestamp(0)) as at, coalesce(max(oldest) filter (where queue = $3), 0) as oldest,
    coalesce(max(waiting) filter (where queue = $3), 0) as waiting,
    coalesce(max(scheduled) filter (where queue = $3), 0) as scheduled,
    coalesce(max(running) filter (where queue = $3), 0) as running, coalesce(max(held) filter (where queue = $3), 0) as held,
    coalesce(max(workers) filter (where queue = $3), 0) as workers, coalesce(max(slots) filter (where queue = $3), 0) as slots,
    coalesce(max(busy) filter (where queue = $3), 0) as busy, max(deploy) as deploy
from {schema}.gauge where at >= $1 and at < $2 and queue in ($3, '', $6)
group by 1 having bool_or(queue = $3) or ($5 and not bool_or(queue = $6)) order by 1
