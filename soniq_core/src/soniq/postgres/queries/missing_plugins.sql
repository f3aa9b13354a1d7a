-- How many live jobs are marked for plugins that no live worker has; none where no worker lives.
with loaded as materialized (
    select distinct unnest(plugins) as plugin from {schema}.worker where seen_at + make_interval(secs => lease) > clock_timestamp()
)
select mark, count(*) as jobs from {schema}.job cross join unnest(marks) as mark
where marks is not null and mark not in (select plugin from loaded)
    and exists (select from {schema}.worker where seen_at + make_interval(secs => lease) > clock_timestamp())
group by mark order by mark
