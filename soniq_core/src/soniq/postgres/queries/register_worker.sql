insert into {schema}.worker (id, lease, concurrency, pid, hostname, version, queues, names, plugins)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
