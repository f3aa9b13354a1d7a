-- Keep why the tick of a schedule fails, and try it again later: after 2, 4, 8 ... seconds, five minutes at most.
update {schema}.schedule set
    failures = least(failures + 1, 1000),
    error = $2,
    error_at = clock_timestamp(),
    wake_at = clock_timestamp() + make_interval(secs => least(2 ^ least(failures + 1, 9), 300))
where name = $1 and wake_at <= clock_timestamp()
