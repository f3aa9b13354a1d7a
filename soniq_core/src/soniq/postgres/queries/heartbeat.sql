-- Say that the worker lives, and how far its jobs are; which of the jobs it runs are to be cancelled. No row: the worker
-- was taken for dead.
with me as (
    update {schema}.worker set seen_at = clock_timestamp() where id = $1 returning id
), free as materialized (
    select id from {schema}.job where id = any($3::uuid[]) and worker_id = $1 and status = 'running'
    for no key update skip locked
), reported as (
    update {schema}.job set progress = report.progress::jsonb
    from unnest($3::uuid[], $4::text[]) as report (id, progress) join free using (id)
    where job.id = report.id
)
select array(select id from {schema}.job where id = any($2::uuid[]) and worker_id = $1 and cancel_requested) from me
