-- Ask the worker that runs a job to end it; it finds the mark with its heartbeat at the latest.
update {schema}.job set cancel_requested = true, cancel_error = coalesce($2::jsonb, cancel_error)
where id = $1 and status = 'running' returning worker_id
