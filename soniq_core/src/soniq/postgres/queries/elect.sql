-- Take or renew the lease of an elected task. No row: another worker has it. A worker whose row is gone has none, whatever
-- the clock was when it took it.
insert into {schema}.election as e (name, worker_id, until) values ($1, $2, now() + make_interval(secs => $3))
on conflict (name) do update set worker_id = excluded.worker_id, until = excluded.until
where e.worker_id = excluded.worker_id or e.until < now()
    or not exists (select from {schema}.worker where worker.id = e.worker_id)
returning name
