delete from {schema}.paused_queue where queue = $1
