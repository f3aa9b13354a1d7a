-- Cancel jobs that have not been claimed. Returns what `settled` observers want to know.
with cancelled as (
    delete from {schema}.job where id = any($1::uuid[]) and status in ('queued', 'held') returning *
), recorded as (
    insert into {schema}.history (
        id, forget_at, created_at, scheduled_at, finished_at, claim, timeout, keep, priority, attempt, max_attempts,
        name, queue, status, serializer, dedup_scope, dedup_label, args, headers, tags, error, progress
    )
    select
        id, case
            when keep < (select extract(epoch from bound - now()) from {schema}.retention)
            then now() + make_interval(secs => keep) else 'infinity'
        end, created_at, scheduled_at, now(), claim, timeout, keep, priority, attempt,
        max_attempts, name, queue, 'cancelled', serializer, dedup_scope, dedup_label, args, headers, tags, $2::jsonb, progress
    from cancelled
)
select id, name, queue, attempt from cancelled
