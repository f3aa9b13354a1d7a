-- Run jobs again, or at once: dead and cancelled ones are taken out of history and queued with all their attempts, their
-- claim number carried on; those that are queued for a later time are due now.
-- Returns those that are queued now, and whether this changed them.
with taken as (
    delete from {schema}.history where id = any($1::uuid[]) and status in ('dead', 'cancelled') returning *
), requeued as (
    insert into {schema}.job (
        id, name, queue, priority, max_attempts, serializer, args, headers, created_at, scheduled_at, claim, timeout,
        keep, tags, dedup_key, dedup_label, dedup_scope, error
    )
    select
        id, name, queue, priority, max_attempts, serializer, args, headers, created_at, now(), claim, timeout, keep, tags,
        case when dedup_scope = 'unfinished' then dedup_label end, dedup_label, dedup_scope,
        case when status = 'dead' then error end
    from taken
    returning queue
), due as (
    update {schema}.job set scheduled_at = now()
    where id = any($1) and status = 'queued' and scheduled_at > now()
    returning queue
)
select queue, true as changed from requeued
union all
select queue, true from due
union all
select queue, false from {schema}.job where id = any($1) and status = 'queued' and scheduled_at <= now()
