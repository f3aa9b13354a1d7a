-- Who could run a job of a queue: how many workers live, serve the queue, and know the job as well; and the queue's pause.
create function {schema}.who_runs(p_queue text, p_name text)
returns table (workers integer, serve integer, know integer, paused_at timestamptz, paused_by text, reason text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
select live.*, paused_at, paused_by, reason
from (
    select
        count(*)::int, count(*) filter (where serves)::int, count(*) filter (where serves and p_name = any(names))::int
    from (
        select names, queues is null or p_queue = any(queues) as serves
        from {soniq}.worker where seen_at + make_interval(secs => lease) > clock_timestamp()
    ) as worker
) as live
left join {soniq}.paused_queue on queue = p_queue
$$;
