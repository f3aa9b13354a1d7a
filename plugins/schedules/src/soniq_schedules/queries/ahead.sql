-- Schedules that were moved on while the clock was ahead: by an hour at least, which would wait until it is there again; or
-- by less, of those whose next tick comes so soon that ticks may be missed until then.
select
    name, spec::text as spec, anchor, moved_at, next_at, clock_timestamp() as now,
    moved_at > clock_timestamp() + interval '1 hour' as far
from {schema}.schedule
where moved_at > clock_timestamp() + interval '1 minute' and wake_at is not null
    and (moved_at > clock_timestamp() + interval '1 hour' or next_at < moved_at + interval '1 hour')
limit 10000
