-- Have a schedule that was moved on while the clock was ahead go on with the tick $3.
update {schema}.schedule set
    next_at = $3::timestamptz, wake_at = $3::timestamptz, anchor = least(anchor, clock_timestamp()),
    moved_at = clock_timestamp()
where name = $1 and moved_at = $2
