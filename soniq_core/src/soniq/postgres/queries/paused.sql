-- The paused queues, since when, by whom and why.
select queue, paused_at, paused_by, reason from {schema}.paused_queue order by queue
