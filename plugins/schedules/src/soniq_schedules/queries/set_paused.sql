-- Pause a schedule, or let it go on with the tick $2.
update {schema}.schedule set
    paused_at = case when $3 then coalesce(paused_at, clock_timestamp()) end,
    next_at = case when $3 then next_at else $2::timestamptz end,
    wake_at = case when $3 then null else $2::timestamptz end,
    moved_at = clock_timestamp(), failures = 0, error = null, error_at = null
where name = $1
