-- Forget operations that have ended more than so many seconds ($1) ago, $2 at most; how many these were.
with past as (
    delete from {schema}.operation where ctid = any(array(
        select ctid from {schema}.operation
        where ended_at < clock_timestamp() - make_interval(secs => $1) order by ended_at limit $2
    )) returning 1
)
select count(*)::int as rows from past
