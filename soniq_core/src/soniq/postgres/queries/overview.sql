-- What is alive, read once: by queue and status, how many, how many of them are due, and for how long the first has been so;
-- and by name, without a queue, those that wait and that no live worker knows; none where no worker lives.
with live as materialized (
    select queue, name, status, count(*) as jobs, count(*) filter (where scheduled_at <= now()) as due,
        min(scheduled_at) as first
    from {schema}.job group by queue, name, status
), known as materialized (
    select distinct unnest(names) as name from {schema}.worker
    where seen_at + make_interval(secs => lease) > clock_timestamp()
)
select
    queue, status, null as name, sum(jobs)::bigint as jobs, sum(due)::bigint as due,
    date_part('epoch', now() - min(first)) as waiting
from live group by queue, status
union all
select null, null, name, sum(jobs)::bigint, 0, 0 from live
where status in ('queued', 'held') and name not in (select name from known) and exists (select from known)
group by name
order by queue, status, name
