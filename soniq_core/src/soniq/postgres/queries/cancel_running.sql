-- Ask the worker that runs a job to end it; it finds the mark with its heartbeat at the latest.
select worker_id from {schema}.cancel_running_1($1, $2)
