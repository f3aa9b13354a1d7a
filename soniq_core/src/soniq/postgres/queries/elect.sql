-- Take or renew the lease of an elected task. No row: another worker has it.
insert into {schema}.election as e (name, worker_id, until) values ($1, $2, now() + make_interval(secs => $3))
on conflict (name) do update set worker_id = excluded.worker_id, until = excluded.until
where e.worker_id = excluded.worker_id or e.until < now()
returning name
