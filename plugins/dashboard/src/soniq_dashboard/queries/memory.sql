-- How much memory the processes of some workers took when they last said so, by the worker's id; of those that fell silent,
-- seen_at ($5) says when they were seen last, so that one with the same number that came after it is told apart.
select worker.id::text, process.memory
from unnest($1::uuid[], $2::text[], $3::integer[], $4::timestamptz[], $5::timestamptz[])
    as worker (id, hostname, pid, started_at, seen_at)
cross join lateral (
    select memory from {schema}.process
    where process.hostname = worker.hostname and process.pid = worker.pid and process.at >= worker.started_at
        and (worker.seen_at is null or process.since <= worker.seen_at)
    order by process.since desc limit 1
) as process
