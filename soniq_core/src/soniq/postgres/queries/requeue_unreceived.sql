-- Requeue jobs that are this worker's, claimed at least `$3` seconds ago, and not among those that it has (`$2`).
update {schema}.job set
    status = 'queued', worker_id = null, started_at = null, started = false, scheduled_at = now(),
    claim = claim + 1
where worker_id = $1 and status = 'running' and id <> all($2::uuid[])
    and started_at <= now() - make_interval(secs => $3)
returning id
