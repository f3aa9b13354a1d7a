-- oldest: 1
-- What a worker runs, in its row: for people who look, without a look at the jobs.

alter table {schema}.worker
    add column running      integer not null default 0,   -- how many attempts
    add column running_jobs jsonb   not null default '[]' -- of some of them id, name, and seconds since the start
;

-- As heartbeat_1, and says what runs.
create function {schema}.heartbeat_2(
    p_worker uuid, p_running uuid[], p_reported uuid[], p_reports text[], p_attempts integer, p_jobs text
)
returns table (to_cancel uuid[])
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
begin
return query
with me as (
    update {schema}.worker set seen_at = clock_timestamp(), running = p_attempts, running_jobs = p_jobs::jsonb
    where id = p_worker returning id
), free as materialized (
    select id from {schema}.job where id = any(p_reported) and worker_id = p_worker and status = 'running'
    for no key update skip locked
), reported as (
    update {schema}.job set progress = (
        select report.progress::jsonb from unnest(p_reported, p_reports) as report (id, progress)
        where report.id = job.id limit 1
    )
    where id = any(array(select id from free))
)
select array(select id from {schema}.job where id = any(p_running) and worker_id = p_worker and cancel_requested) from me;
end
$$;
