-- Forget what was done more than so many seconds ($1) ago, $2 lines at most; how many these were.
with past as (
    delete from {schema}.audit where ctid = any(array(
        select ctid from {schema}.audit where at < clock_timestamp() - make_interval(secs => $1) order by at limit $2
    )) returning 1
)
select count(*)::int as rows from past
