-- Schedules that were moved on while the clock was ahead, by an hour at least: they would wait until it is there again.
select name, spec::text as spec, anchor, moved_at, clock_timestamp() as now from {schema}.schedule
where moved_at > clock_timestamp() + interval '1 hour' and wake_at is not null limit 10000
