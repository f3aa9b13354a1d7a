-- Give the jobs of workers that are no more back to the queue, or end those that have used up their attempts. A start
-- that was written down is charged; a job that was to be cancelled is. The claim number rises, so that a late
-- settlement is known as one. `$1`: error as JSON for those charged.
-- `$2`: of these jobs only, or null.
with orphan as materialized (
    select id, worker_id, started, scheduled_at, started_at from {schema}.job
    where status = 'running' and not exists (select from {schema}.worker where worker.id = job.worker_id)
        and ($2::uuid[] is null or id = any($2))
    for update skip locked
), ended as (
    delete from {schema}.job using orphan
    where job.id = orphan.id and (cancel_requested or (job.started and attempt + 1 >= max_attempts))
    returning job.*
), recorded as (
    insert into {schema}.history (
        id, forget_at, created_at, scheduled_at, started_at, finished_at, claim, timeout, keep, worker_id, priority,
        attempt, max_attempts, name, queue, status, serializer, dedup_scope, dedup_label, args, headers, tags, error, progress
    )
    select
        id, case
            when keep < (select extract(epoch from bound - now()) from {schema}.retention)
            then now() + make_interval(secs => keep) else 'infinity'
        end, created_at, scheduled_at, started_at, now(), claim + 1, timeout, keep, worker_id,
        priority, attempt + started::int, max_attempts, name, queue,
        case when cancel_requested then 'cancelled' else 'dead' end, serializer, dedup_scope, dedup_label, args, headers,
        tags, coalesce(cancel_error, case when started then $1::jsonb else error end), progress
    from ended
), requeued as (
    update {schema}.job set
        status = 'queued', worker_id = null, started_at = null, suspect = true, started = false,
        attempt = attempt + job.started::int, scheduled_at = now(), claim = claim + 1,
        error = case when job.started then $1::jsonb else error end
    from orphan
    where job.id = orphan.id and not (cancel_requested or (job.started and attempt + 1 >= max_attempts))
    returning job.*, orphan.started as charged, orphan.worker_id as lost_worker, orphan.scheduled_at as was_due,
        orphan.started_at as was_claimed
)
select
    id, name, queue, priority, case when cancel_requested then 'cancelled' else 'dead' end as status, started as charged,
    attempt + started::int as attempt, max_attempts, headers::text, created_at, scheduled_at, worker_id,
    extract(epoch from started_at - scheduled_at)::float8 as queued_for
from ended
union all
select
    id, name, queue, priority, 'queued', charged, attempt, max_attempts, headers::text,
    created_at, was_due, lost_worker, extract(epoch from was_claimed - was_due)::float8
from requeued
