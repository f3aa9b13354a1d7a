-- Forget rows of a tier ($1) that are older than so many seconds ($2), $3 at most; how many these were.
with past as (
    delete from {schema}.series where ctid = any(array(
        select ctid from {schema}.series
        where tier = $1 and at < clock_timestamp() - make_interval(secs => $2) order by tier, at limit $3
    )) returning 1
)
select count(*)::int as rows from past
