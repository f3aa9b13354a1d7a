-- The limits, with what their keys have.
with running as (
    select key, count(*) as jobs from {schema}.slot group by key
), waiting as (
    select key, count(*) as jobs from {schema}.waiting cross join unnest(keys) as key group by key
), used as (
    select
        split_part(key, '[', 1) as name, count(*) as keys, sum(running.jobs)::bigint as running,
        sum(waiting.jobs)::bigint as waiting
    from running full join waiting using (key) group by 1
)
select
    name, kind, n, declared, per, coalesce(keys, 0) as keys, coalesce(running, 0) as running, coalesce(waiting, 0) as waiting
from {schema}.limits left join used using (name)
order by name
