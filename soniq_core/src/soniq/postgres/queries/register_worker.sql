insert into {schema}.worker (id, lease, concurrency, pid, hostname, version, queues, names)
values ($1, $2, $3, $4, $5, $6, $7, $8)
