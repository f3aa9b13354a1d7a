-- The keys of a job, whether it has a slot, and how many are taken of how many; of a rate how many starts it counts.
select
    key, per, exists (select from {schema}.slot where slot.key = wanted.key and job_id = $1::uuid) as has_slot,
    case when per is null then (select count(*) from {schema}.slot where slot.key = wanted.key) else (
        select count(*) from {schema}.start
        where start.key = wanted.key and (at is null or at > clock_timestamp() - {schema}.counts_for_1(per))
    ) end as taken,
    limits.n
from (
    select key from {schema}.slot where job_id = $1::uuid
    union
    select unnest(keys) from {schema}.waiting where job_id = $1::uuid
) as wanted (key) left join {schema}.limits on limits.name = split_part(key, '[', 1)
order by key
