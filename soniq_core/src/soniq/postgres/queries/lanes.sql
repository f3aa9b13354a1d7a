-- Which lanes hold queued jobs, after a place; then the paused queues.
select queue, priority, scheduled_at, due_in from {schema}.lanes_1($1, $2, $3)
