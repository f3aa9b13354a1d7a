-- Give up the lease of an elected task.
delete from {schema}.election where name = $1 and worker_id = $2
