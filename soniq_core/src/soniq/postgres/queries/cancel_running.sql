-- Ask the worker that runs a job to end it; it finds the mark with its heartbeat at the latest.
update {schema}.job set cancel_requested = true where id = $1 and status = 'running' returning worker_id
