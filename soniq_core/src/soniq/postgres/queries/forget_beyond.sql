-- Forget the jobs in history_forever that were to be kept for a time: longer than there were partitions ahead, or dead,
-- for which it is `$3` where the job does not say.
delete from {schema}.history_forever h using (
    select id from {schema}.history_forever
    where case
        when coalesce(case when status = 'dead' then coalesce(keep_dead, $3::float8, 1e10) else keep end, 1e10) < 1e10
        then finished_at + make_interval(
            secs => case when status = 'dead' then coalesce(keep_dead, $3::float8) else keep end
        ) < now()
        else false
    end
        and (result is null or result_store = any($1::text[]))
    limit $2
) as past
where h.id = past.id
returning h.id, h.name, h.queue, h.status, h.result_store, h.result
