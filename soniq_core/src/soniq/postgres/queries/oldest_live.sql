-- Whether there are as many jobs alive as `$1`, in each row; and what the oldest of them are, `$1` of them: by queue, name and
-- status, how many, how many of them are due, and for how long the first has been so; how many are marked for plugins. Where
-- there are as many, those that are only queued are left out; where nothing is left, there is one row without a queue.
with many as materialized (
    select count(*) >= $1 as yes from (select from {schema}.job order by id limit $1) as oldest
), found as (
    select
        queue, name, status, count(*) as jobs, count(*) filter (where scheduled_at <= now()) as due,
        date_part('epoch', now() - min(scheduled_at)) as waiting, count(marks) as marked
    from (select queue, name, status, scheduled_at, marks from {schema}.job order by id limit $1) as oldest
    where status <> 'queued' or marks is not null or not (select yes from many)
    group by queue, name, status
)
select yes as many, found.* from many left join found on true
