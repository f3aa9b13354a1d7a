-- Which lanes of some queues hold queued jobs, in the first of them after a priority; then those that are paused.
select queue, priority, scheduled_at, due_in from {schema}.lanes_of_1($1, $2, $3)
