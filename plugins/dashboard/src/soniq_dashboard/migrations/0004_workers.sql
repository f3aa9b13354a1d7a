-- Workers that fell silent, as each was when it was last seen.
create table {schema}.silent (
    id      uuid        primary key,
    seen_at timestamptz not null,
    worker  jsonb       not null
);
create index silent_seen_at on {schema}.silent (seen_at);

-- Workers whose lease is over and that no other worker has found yet, as they are told of when one does.
create function {schema}.overdue() returns table (id uuid, seen_at timestamptz, worker jsonb)
language sql stable set search_path = pg_catalog, pg_temp
as $$
select id, seen_at, jsonb_build_object(
    'worker_id', id, 'hostname', hostname, 'pid', pid, 'version', version, 'queues', queues, 'concurrency', concurrency,
    'started_at', started_at, 'seen_at', seen_at, 'names', names, 'plugins', plugins, 'running', running, 'running_jobs', (
        select coalesce(jsonb_agg(jsonb_build_object(
            'job_id', job ->> 0, 'job_name', job ->> 1,
            'started_at', seen_at - make_interval(secs => (job ->> 2)::float8)
        )), '[]')
        from jsonb_array_elements(running_jobs) as job
    )
)
from {soniq}.worker where seen_at + make_interval(secs => lease) <= clock_timestamp()
$$;

-- Of jobs that run: how far they are, whether their worker is asked to end them, and where it is.
create function {schema}.running(p_ids uuid[])
returns table (id uuid, progress text, cancel_requested boolean, hostname text, pid integer)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
return query
select job.id, job.progress::text, job.cancel_requested, worker.hostname, worker.pid
from {soniq}.job left join {soniq}.worker on worker.id = job.worker_id where job.id = any(p_ids);
end
$$;
