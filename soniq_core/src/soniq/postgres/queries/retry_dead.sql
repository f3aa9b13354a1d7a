-- Take dead jobs out of history and queue them again, with all their attempts. The claim number is carried on.
with taken as (
    delete from {schema}.history where id = any($1::uuid[]) and status = 'dead' returning *
)
insert into {schema}.job (
    id, name, queue, priority, max_attempts, serializer, args, headers, created_at, scheduled_at, claim, timeout, keep,
    tags, dedup_key, dedup_label, dedup_scope, error
)
select
    id, name, queue, priority, max_attempts, serializer, args, headers, created_at, now(), claim, timeout, keep, tags,
    case when dedup_scope = 'unfinished' then dedup_label end, dedup_label, dedup_scope, error
from taken
returning queue
