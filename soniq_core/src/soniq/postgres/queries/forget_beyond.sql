-- Forget the jobs in history_forever that were to be kept for a time, and longer than there were partitions ahead.
delete from {schema}.history_forever h using (
    select id from {schema}.history_forever
    where case when keep < 1e10 then finished_at + make_interval(secs => keep) < now() else false end
        and (result is null or result_store = any($1::text[]))
    limit $2
) as past
where h.id = past.id
returning h.result_store, h.result
