insert into {schema}.paused_queue (queue) values ($1) on conflict do nothing
