-- Forget finished jobs: those whose time is past, or, with `$1`, all that finished at least so many seconds ago. Dead ones
-- have a time of their own, `$5` where the job does not say, and go by age only where `$2` names them. Those whose results
-- are in other stores than `$3` stay: nobody here could delete them.
delete from {schema}.history h using (
    select id, forget_at from {schema}.history
    where (status = $2 or $2::text is null and ($1::float8 is null or status <> 'dead')) and case
        when $1::float8 is not null then finished_at <= now() - make_interval(secs => $1)
        when status = 'dead' then case
            when coalesce(keep_dead, $5::float8, 1e10) < 1e10
            then finished_at + make_interval(secs => coalesce(keep_dead, $5::float8)) < now() else false
        end
        else least(forget_at, case when keep < 1e10 then finished_at + make_interval(secs => keep) else 'infinity' end) < now()
    end
        and (result is null or result_store = any($3::text[]))
    limit $4
) as past
where h.id = past.id and h.forget_at = past.forget_at
returning h.id, h.name, h.queue, h.status, h.result_store, h.result
