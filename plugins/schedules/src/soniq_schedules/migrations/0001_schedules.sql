-- {schema} is the plugin's own schema.

create table {schema}.schedule (
    name       text primary key,
    job        text        not null,
    source     text        not null check (source in ('code', 'database')),
    spec       jsonb       not null,               -- a Cron or an Every, without its arguments
    args       bytea       not null,               -- as the serializer writes them
    serializer text        not null,               -- ... the job's, when they were written
    digest     text        not null,               -- of job, spec, arguments and serializer
    version    text,                               -- of code: which version of the code wrote it
    anchor     timestamptz not null default now(), -- from when an interval is counted
    next_at    timestamptz,                        -- the next tick; null: there is none any more
    wake_at    timestamptz,                        -- when a worker looks at it; null: paused, or ended
    moved_at   timestamptz not null default clock_timestamp(), -- when next_at was decided
    paused_at  timestamptz,
    last_at    timestamptz,                        -- the last tick that made a job
    last_job   uuid,                               -- ... and that job
    skipped_at timestamptz,                        -- the last tick that made none, as the job before was not finished
    failures   smallint    not null default 0,     -- in a row
    error      text,                               -- why its tick fails
    error_at   timestamptz
) with (fillfactor = 80);

create index schedule_wake on {schema}.schedule (wake_at) where wake_at is not null;

-- The versions of the code whose workers live: what they can tick.
create table {schema}.version (
    digest     text primary key,
    first_seen timestamptz not null default clock_timestamp(),
    seen_at    timestamptz not null default clock_timestamp(),
    jobs       text[]      not null,
    schedules  text[]      not null                -- those in its code
);
