-- Inside a caller's transaction: NOTIFY takes a cluster-wide lock at its commit, so only if a worker is asleep.
select pg_notify($1, $2) where exists (
    select from {schema}.worker where waiting and seen_at + make_interval(secs => lease) > clock_timestamp()
)
