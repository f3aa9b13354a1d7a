-- The newest jobs that match; null is "any". `$7`: finished since then, or else created.
select
    id, name, status, queue, priority, attempt, max_attempts, created_at, scheduled_at, started_at, finished_at,
    worker_id, tags, progress, error, held_by
from {schema}.jobs_1($1, $2, $3, $4, $5, $6, $7)
