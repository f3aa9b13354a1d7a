-- The keys of a job, whether it has a slot, and how many are taken and there are of each.
select key, exists (select from {schema}.slot where slot.key = wanted.key and job_id = $1::uuid) as has_slot,
    (select count(*) from {schema}.slot where slot.key = wanted.key) as taken, limits.n
from (
    select key from {schema}.slot where job_id = $1::uuid
    union
    select unnest(keys) from {schema}.waiting where job_id = $1::uuid
) as wanted (key) left join {schema}.limits on limits.name = split_part(key, '[', 1)
order by key
