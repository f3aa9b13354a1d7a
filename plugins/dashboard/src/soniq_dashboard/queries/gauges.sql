-- The samples of a queue from one time to another: of each `$4` minutes the highest of each.
select
    date_bin(make_interval(mins => $4), at, to_timestamp(0)) as at, max(oldest) as oldest, max(waiting) as waiting,
    max(scheduled) as scheduled, max(running) as running, max(held) as held, max(workers) as workers, max(slots) as slots,
    max(busy) as busy, max(deploy) as deploy
from {schema}.gauge where at >= $1 and at < $2 and queue = $3 group by 1 order by 1
