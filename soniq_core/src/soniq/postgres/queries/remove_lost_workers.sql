-- Remove the rows of workers that were silent for longer than their lease; how these were. A claim under way holds its row,
-- and is waited for.
-- One that was seen in the future was so by a clock that has been set back since: its lease begins now.
with ahead as (
    update {schema}.worker set seen_at = clock_timestamp() where id in (
        select id from {schema}.worker where seen_at > clock_timestamp() + make_interval(secs => lease) for update skip locked
    )
)
delete from {schema}.worker where id in (
    select id from {schema}.worker where seen_at + make_interval(secs => lease) < clock_timestamp() for update skip locked
) returning json_build_object(
    'worker_id', id, 'hostname', hostname, 'pid', pid, 'version', version, 'queues', queues, 'concurrency', concurrency,
    'started_at', started_at, 'seen_at', seen_at, 'names', names, 'plugins', plugins, 'running', running,
    'running_jobs', running_jobs
)::text as worker
