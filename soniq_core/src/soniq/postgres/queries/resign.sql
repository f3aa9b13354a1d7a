-- Give up the lease of an elected task; and forget those of tasks that nobody has stood for in a day.
delete from {schema}.election where (name = $1 and worker_id = $2) or until < now() - interval '1 day'
