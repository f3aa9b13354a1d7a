-- What may need an operator, in JSON: the job that has been due for the longest time, which is the oldest of the first of each
-- lane; what is owed to each plugin; the workers that are within their lease; the paused queues. Of the oldest of what is
-- alive, `$1` of them: how many jobs each holder holds, and of those held that are due the one that has been so for the
-- longest time, where there are held ones (`$2`); and how many are marked for each plugin, where there are marked ones (`$3`).
with held as materialized (
    select * from (
        select id, name, queue, scheduled_at, held_by, status from {schema}.job where $2 order by id limit $1
    ) as oldest
    where status = 'held'
), marked as materialized (
    select marks from {schema}.job where $3 order by id limit $1
)
select json_build_object(
    'oldest_waiting', (
        select json_build_object(
            'job_id', id, 'job_name', name, 'queue', queue, 'scheduled_at', greatest(scheduled_at, 'epoch'),
            'waiting', date_part('epoch', now() - greatest(scheduled_at, 'epoch'))
        )
        from {schema}.job_1((
            select first from {schema}.lanes_1('', -32769, 2147483647) where due_in <= 0 order by due_in, first limit 1
        )) where status = 'queued'
    ),
    'oldest_held', (
        select json_build_object(
            'job_id', id, 'job_name', name, 'queue', queue, 'scheduled_at', greatest(scheduled_at, 'epoch'),
            'waiting', date_part('epoch', now() - greatest(scheduled_at, 'epoch')), 'held_by', held_by
        )
        from held where scheduled_at <= now() order by scheduled_at, id limit 1
    ),
    'held_by', (
        select coalesce(json_object_agg(holder, jobs order by holder), '{}') from (
            select holder, count(distinct id) as jobs from held cross join unnest(held_by) as holder group by holder
        ) as holders
    ),
    'marks', (
        select coalesce(json_object_agg(mark, jobs order by mark), '{}') from (
            select mark, count(*) as jobs from marked cross join unnest(marks) as mark group by mark
        ) as plugins
    ),
    'owed', (
        select coalesce(json_object_agg(plugin, events order by plugin), '{}') from (
            select plugin, json_build_object(
                'events', count(*), 'waiting', greatest(0, date_part('epoch', now() - min(at)))
            ) as events
            from {schema}.owed group by plugin
        ) as plugins
    ),
    'workers', (
        select coalesce(json_agg(json_build_object(
            'worker_id', id, 'hostname', hostname, 'pid', pid, 'version', version, 'queues', queues,
            'concurrency', concurrency, 'started_at', started_at, 'seen_at', seen_at, 'names', names, 'plugins', plugins,
            'running', running, 'running_jobs', running_jobs
        ) order by started_at), '[]')
        from {schema}.worker where seen_at + make_interval(secs => lease) > clock_timestamp()
    ),
    'paused', (
        select coalesce(json_object_agg(
            queue, json_build_object('since', paused_at, 'by', paused_by, 'reason', reason) order by queue
        ), '{}')
        from {schema}.paused_queue
    )
)
