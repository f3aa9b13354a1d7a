-- When workers came that are new: of another version of Soniq, or with other jobs.
alter table {schema}.gauge
    add column kinds text[], -- of all queues: which kinds of workers live, each as its version and a digest of its jobs' names
    add column deploy text;  -- what is new about workers that came in this minute

-- The live workers, as `workers` has them, with the version of Soniq and the jobs that they know.
create function {schema}.workers_2() returns table (queues text[], slots integer, busy integer, version text, names text[])
language sql stable set search_path = pg_catalog, pg_temp
as $$
select queues, concurrency, running, version, names from {soniq}.worker
where seen_at + make_interval(secs => lease) > clock_timestamp()
$$;
