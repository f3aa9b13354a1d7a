-- Forget finished jobs: those whose time is past, or, with `$1`, all that finished at least so many seconds ago. Those
-- whose results are in other stores than `$3` stay: nobody here could delete them.
delete from {schema}.history h using (
    select id, forget_at from {schema}.history
    where ($2::text is null or status = $2) and case
        when $1::float8 is null then
            least(forget_at, case when keep < 1e10 then finished_at + make_interval(secs => keep) else 'infinity' end) < now()
        else finished_at <= now() - make_interval(secs => $1)
    end
        and (result is null or result_store = any($3::text[]))
    limit $4
) as past
where h.id = past.id and h.forget_at = past.forget_at
returning h.result_store, h.result
