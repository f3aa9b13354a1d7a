-- What is done to all jobs that match a search. Workers carry it out, a batch at a time.
create table {schema}.operation (
    id         bigint      not null generated always as identity primary key,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    due_at     timestamptz not null default clock_timestamp(), -- when the next batch may begin
    frozen_at  timestamptz not null, -- of what was created or finished later, nothing is touched
    ended_at   timestamptz,
    found      bigint      not null, -- how many jobs matched when it was asked for
    seen       bigint      not null default 0, -- how many were gone through so far
    changed    bigint      not null default 0,
    asked      bigint      not null default 0, -- those that ran, and whose workers were asked to end them
    kept       bigint      not null default 0, -- those that stay as they are, for the reasons in `why`
    failures   smallint    not null default 0, -- batches that failed, one after the other
    exact      boolean     not null, -- whether no more than `found` matched
    secret     boolean     not null, -- whether it searches in what belongs to jobs: arguments, headers and errors
    state      text        not null default 'open' check (state in ('open', 'done', 'stopped', 'failed')),
    action     text        not null check (action in ('retry', 'cancel', 'delete')),
    by         text        not null,
    reason     text,
    stopped_by text,
    error      text, -- why it failed, or stopped by itself
    place      text, -- the cursor of the search behind the last batch
    search     jsonb       not null,
    why        jsonb       not null default '{}', -- how many jobs were left, by reason
    examples   jsonb       not null default '[]'  -- some of those that were left: id and reason
) with (fillfactor = 50);
create unique index operation_once on {schema}.operation (frozen_at, action); -- a form that is sent twice is one
create index operation_open on {schema}.operation (due_at) where state = 'open';

-- What operators did: with jobs, with queues, and with operations.
create table {schema}.audit (
    id           bigint      not null generated always as identity primary key,
    at           timestamptz not null default clock_timestamp(),
    operation_id bigint,
    jobs         integer     not null, -- how many were changed at once; of an operation, its row tells
    action       text        not null,
    by           text        not null,
    queue        text,
    reason       text,
    job_ids      uuid[]      not null
);
create index audit_at on {schema}.audit (at);
create index audit_by on {schema}.audit (by, id);
create index audit_action on {schema}.audit (action, id);
