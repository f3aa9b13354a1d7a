-- Who could run a job of a queue, and whether that is paused.
select * from {schema}.who_runs($1, $2)
