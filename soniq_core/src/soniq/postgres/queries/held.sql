-- Of the oldest of what is alive, `$1` of them: how many jobs each holder holds, and of those held that are due the one that
-- has been so for the longest time.
with held as materialized (
    select * from (select id, name, queue, scheduled_at, held_by, status from {schema}.job order by id limit $1) as oldest
    where status = 'held'
), first as (
    select * from held where scheduled_at <= now() order by scheduled_at, id limit 1
)
select holder, count(distinct held.id) as jobs, null::uuid as id, null as name, null as queue, null::timestamptz as scheduled_at,
    null::float8 as waiting, null::text[] as held_by
from held cross join unnest(held_by) as holder group by holder
union all
select null, 0, id, name, queue, scheduled_at, date_part('epoch', now() - scheduled_at), held_by from first
order by holder
