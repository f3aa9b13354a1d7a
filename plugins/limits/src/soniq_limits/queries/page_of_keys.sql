-- The keys of a limit ($1), those after a key ($2), so many of them ($3): how many slots are taken, of a rate how many starts
-- it counts, and how many jobs wait for one; one more than $4 at most.
select
    wanted.key, limits.n, limits.per,
    case when limits.per is null then (
        select count(*) from (select from {schema}.slot where slot.key = wanted.key limit $4 + 1) as found
    ) else (
        select count(*) from (
            select from {schema}.start
            where start.key = wanted.key and (at is null or at > clock_timestamp() - {schema}.counts_for_1(limits.per))
            limit $4 + 1
        ) as found
    ) end as taken,
    (select count(*) from (select from {schema}.waiting where waiting.at = wanted.key limit $4 + 1) as found) as waiting
from (
    select key, name from {schema}.key where name = $1 and key > $2 order by key limit $3
) as wanted
join {schema}.limits on limits.name = wanted.name
order by wanted.key
