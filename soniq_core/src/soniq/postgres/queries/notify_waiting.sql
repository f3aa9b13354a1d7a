-- Inside a caller's transaction: NOTIFY takes a cluster-wide lock at its commit, so only if a worker is asleep, or, with `$3`, if one lives.
-- `made`, as in made.sql: the caller's database may be another than the app's.
select
    (select extract(epoch from applied_at)::text from {schema}.migration where namespace = 'soniq' and version = 1) as made,
    case when exists (
        select from {schema}.worker where (waiting or $3) and seen_at + make_interval(secs => lease) > clock_timestamp()
    ) then pg_notify($1, $2)::text end
