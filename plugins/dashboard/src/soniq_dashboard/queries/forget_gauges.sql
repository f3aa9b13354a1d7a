-- Forget samples that are older than so many seconds ($1), $2 at most; how many these were.
with past as (
    delete from {schema}.gauge where ctid = any(array(
        select ctid from {schema}.gauge where at < clock_timestamp() - make_interval(secs => $1) order by at limit $2
    )) returning 1
)
select count(*)::int as rows from past
