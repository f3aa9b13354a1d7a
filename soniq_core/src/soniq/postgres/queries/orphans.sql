-- The jobs of workers that are no more; `rescue` looks again. Reads all live jobs: there is no index on what runs.
select id from {schema}.job
where status = 'running' and not exists (select from {schema}.worker where worker.id = job.worker_id)
