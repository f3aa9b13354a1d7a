-- Move schedules on, whose ticks made jobs or were left out.
update {schema}.schedule as s set
    next_at = t.next_at,
    wake_at = t.next_at,
    moved_at = clock_timestamp(),
    last_at = coalesce(t.last_at, s.last_at),
    last_job = coalesce(t.last_job, s.last_job),
    skipped_at = coalesce(t.skipped_at, s.skipped_at),
    failures = 0,
    error = null,
    error_at = null
from unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::uuid[], $5::timestamptz[])
    as t (name, next_at, last_at, last_job, skipped_at)
where s.name = t.name
