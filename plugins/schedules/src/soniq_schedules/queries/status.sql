-- How the schedules are: how many there are, paused ones, names of those that no live worker has, of those whose tick fails.
with known as (
    select name, paused_at, error, next_at is not null and paused_at is null and not exists (
        select from {schema}.version
        where abs(date_part('epoch', clock_timestamp() - seen_at)) < $1
            and case source when 'code' then schedule.name = any(schedules) else schedule.job = any(jobs) end
    ) as unknown
    from {schema}.schedule
)
select
    count(*) as schedules,
    count(paused_at) as paused,
    (array_agg(name order by name) filter (where unknown))[:20] as no_live_worker_has,
    (array_agg(name order by name) filter (where error is not null))[:20] as failing
from known
