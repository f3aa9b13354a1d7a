-- Processes of workers, and the memory that each took when it last said so.
create table {schema}.process (
    id       uuid        primary key,
    since    timestamptz not null default clock_timestamp(),
    at       timestamptz not null,
    memory   bigint      not null, -- resident, in bytes
    pid      integer     not null,
    hostname text        not null
) with (fillfactor = 50);
create index process_at on {schema}.process (at);
create index process_pid on {schema}.process (hostname, pid);
