-- Keep what somebody did.
insert into {schema}.audit (jobs, action, by, queue, reason, job_ids) values ($1, $2, $3, $4, $5, $6)
