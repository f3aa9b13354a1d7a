-- Limits by name, those after a name ($1), so many of them ($2), each with its keys and their jobs: what is found of the first
-- $3 keys, and one more than $3 at most of anything.
select
    limits.name, kind, n, declared, per, cardinality(used.keys) as keys,
    (
        select count(*) from (
            select from {schema}.slot where slot.key = any(used.keys[:$3]) limit $3 + 1
        ) as found
    ) as running,
    (
        select count(*) from (
            select from {schema}.waiting where at = any(used.keys[:$3]) limit $3 + 1
        ) as found
    ) as waiting
from (
    select name, kind, n, declared, per from {schema}.limits where name > $1 order by name limit $2
) as limits
cross join lateral (
    select array(
        select key from {schema}.key where key.name = limits.name order by key limit $3 + 1
    ) as keys
) as used
order by limits.name
