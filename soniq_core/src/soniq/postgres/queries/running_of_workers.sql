-- How many of the jobs that live workers ran when they were last seen run now, by queue; `$1` at most.
select queue, count(*) as jobs from {schema}.job
where status = 'running' and id = any(array(
    select (each ->> 0)::uuid from {schema}.worker cross join jsonb_array_elements(running_jobs) as each
    where seen_at + make_interval(secs => lease) > clock_timestamp() limit $1
))
group by queue
