-- The workers that are within their lease.
select
    id, hostname, pid, version, queues, concurrency, started_at, seen_at, names, plugins, running,
    running_jobs::text as running_jobs
from {schema}.worker where seen_at + make_interval(secs => lease) > clock_timestamp()
order by started_at
