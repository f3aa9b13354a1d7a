-- What jobs did: rows for each minute, each ten, and each hour. Counts are added to all three as they come, so that
-- nothing needs to be gathered later.

create table {schema}.series (
    at             timestamptz not null,
    took           float8      not null, -- sums of seconds, of the attempts that started
    waited         float8      not null,
    tier           smallint    not null, -- of how many minutes the row is: 1, 10 or 60
    done           integer     not null,
    dead           integer     not null,
    cancelled      integer     not null,
    retry          integer     not null,
    snooze         integer     not null,
    lost           integer     not null,
    stopped        integer     not null,
    queue          text        not null collate "C",
    name           text        not null collate "C",
    took_buckets   integer[]   not null, -- how many fell into each; empty ones at the end are left out
    waited_buckets integer[]   not null,
    primary key (tier, at, queue, name)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

-- How much waited, and how busy the workers were: of each minute the highest that was seen. The queue '' is all of them.
create table {schema}.gauge (
    at        timestamptz not null,
    oldest    float8      not null, -- seconds for which the oldest waiting job has been due
    waiting   integer     not null,
    scheduled integer     not null,
    running   integer     not null,
    held      integer     not null,
    workers   integer     not null, -- those that serve the queue
    slots     integer     not null, -- how many attempts they can run at once
    busy      integer     not null, -- how many they run
    queue     text        not null collate "C",
    primary key (at, queue)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

-- The live workers: whom they serve (null: all), how many attempts they can run, and how many they ran when last seen.
create function {schema}.workers() returns table (queues text[], slots integer, busy integer)
language sql stable set search_path = pg_catalog, pg_temp
as $$
select queues, concurrency, running from {soniq}.worker where seen_at + make_interval(secs => lease) > clock_timestamp()
$$;
