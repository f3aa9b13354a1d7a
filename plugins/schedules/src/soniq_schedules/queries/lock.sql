-- One schedule, locked, to be changed.
select job, args, serializer, source, spec::text as spec, digest, anchor, next_at, last_job, paused_at, clock_timestamp() as now
from {schema}.schedule where name = $1 for update
