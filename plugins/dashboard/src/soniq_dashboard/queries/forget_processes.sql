-- Forget processes that said nothing for more than so many seconds ($1), $2 at most; how many these were.
with past as (
    delete from {schema}.process where ctid = any(array(
        select ctid from {schema}.process
        where at < clock_timestamp() - make_interval(secs => $1) order by at limit $2
    )) returning 1
)
select count(*)::int as rows from past
