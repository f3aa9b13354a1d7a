select queue from {schema}.paused_queue order by queue
