-- For tests: as if $1 seconds had passed, for the jobs that are not finished.
update {schema}.job set
    scheduled_at = scheduled_at - make_interval(secs => $1),
    expires_at = expires_at - make_interval(secs => $1),
    deferred_since = deferred_since - make_interval(secs => $1)
where status in ('queued', 'held')
