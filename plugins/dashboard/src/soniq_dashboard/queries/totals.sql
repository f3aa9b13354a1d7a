-- As `series`, but of the whole time at once, which begins at $4: of rows of the tiers $1, of each those from $2 to $3; of the
-- queue $5 and the job $6, or of all; by queue ($7), by job ($8), or together.
with found as (
    select counted.*, case when $7 then queue end as of_queue, case when $8 then name end as of_name
    from unnest($1::smallint[], $2::timestamptz[], $3::timestamptz[]) as part (of_tier, since, until)
    cross join lateral (
        select * from {schema}.series
        where tier = of_tier and at >= since and at < until and ($5::text is null or queue = $5) and ($6::text is null or name = $6)
        offset 0 -- so each part is found by the index
    ) as counted
)
select
    $4::timestamptz as at, of_queue, of_name, sum(done)::int8 as done, sum(dead)::int8 as dead, sum(cancelled)::int8 as cancelled,
    sum(retry)::int8 as retry, sum(snooze)::int8 as snooze, sum(lost)::int8 as lost, sum(stopped)::int8 as stopped,
    sum(took) as took, sum(waited) as waited, {summed:took_buckets}, {summed:waited_buckets}
from found group by of_queue, of_name order by of_queue, of_name
