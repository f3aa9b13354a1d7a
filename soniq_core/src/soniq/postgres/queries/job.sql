-- One job, wherever it is, in one snapshot.
select
    id, name, status, queue, priority, attempt + (status = 'running')::int as attempt, max_attempts, created_at,
    scheduled_at, started_at, null::timestamptz as finished_at, worker_id, tags, progress::text, error::text, serializer,
    null::bytea as result, null::text as result_store, args, headers::text, dedup_label
from {schema}.job where id = $1
union all
select
    id, name, status, queue, priority, attempt, max_attempts, created_at, scheduled_at, started_at, finished_at,
    worker_id, tags, progress::text, error::text, serializer, result, result_store, args, headers::text, dedup_label
from {schema}.history where id = $1
