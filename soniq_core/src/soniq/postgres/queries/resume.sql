-- Resume a queue, if it is paused.
delete from {schema}.paused_queue where queue = $1 returning queue
