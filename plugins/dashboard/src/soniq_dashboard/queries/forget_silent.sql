-- Forget workers that fell silent more than so many seconds ($1) ago, $2 at most; how many these were.
with past as (
    delete from {schema}.silent where ctid = any(array(
        select ctid from {schema}.silent
        where seen_at < clock_timestamp() - make_interval(secs => $1) order by seen_at limit $2
    )) returning 1
)
select count(*)::int as rows from past
