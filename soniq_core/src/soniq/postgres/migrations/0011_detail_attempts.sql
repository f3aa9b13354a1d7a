-- oldest: 1
-- As detail_1, with the attempts that did not succeed.
create function {schema}.detail_2(p_id uuid, p_largest integer) returns table (
    id uuid, name text, status text, queue text, priority smallint, attempt integer, max_attempts smallint,
    created_at timestamptz, scheduled_at timestamptz, started_at timestamptz, finished_at timestamptz, worker_id uuid,
    tags text[], progress text, error text, held_by text[], serializer text, result_store text, dedup_label text,
    timeout float8, expires_at timestamptz, keep float8, keep_dead float8, forget_at timestamptz, cancel_requested boolean,
    headers text, args bytea, args_size integer, result bytea, result_size integer, attempts text
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
begin
return query
select
    id, name, status, queue, priority, attempt + (status = 'running')::int, max_attempts, created_at, scheduled_at,
    started_at, null::timestamptz, worker_id, tags, progress::text, error::text, held_by, serializer, null::text, dedup_label,
    timeout, expires_at, keep, keep_dead, null::timestamptz, cancel_requested, headers::text,
    case when octet_length(args) <= p_largest then args end, octet_length(args), null::bytea, null::integer,
    attempts::text
from {schema}.job where id = p_id
union all
select
    id, name, status, queue, priority, attempt::int, max_attempts, created_at, scheduled_at, started_at, finished_at,
    worker_id, tags, progress::text, error::text, null::text[], serializer, result_store, dedup_label,
    timeout, null::timestamptz, keep, keep_dead, nullif(forget_at, 'infinity'), false, headers::text,
    case when octet_length(args) <= p_largest then args end, octet_length(args),
    case when octet_length(result) <= p_largest then result end, octet_length(result), attempts::text
from {schema}.history where id = p_id;
end
$$;
