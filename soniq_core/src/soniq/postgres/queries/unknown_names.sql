-- Names with jobs that wait, and that no live worker knows; nothing where no worker lives.
with known as (
    select distinct unnest(names) as name from {schema}.worker
    where seen_at + make_interval(secs => lease) > clock_timestamp()
)
select name, count(*) as jobs from {schema}.job
where status = 'queued' and name not in (select name from known) and exists (select from known)
group by name order by name
