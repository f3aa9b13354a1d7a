-- Ask the workers that run jobs to end them; they find the mark with their heartbeat at the latest. Which were asked.
select id from {schema}.cancel_running_2($1, $2)
