-- What keeps PostgreSQL from removing dead rows of this database, oldest first: seconds where it tells since when, and
-- always how many transactions have begun since. A role without pg_monitor sees no times and states of others.
-- Vacuum does not count, and a slot's catalog_xmin holds system tables only.
select
    'transaction' as kind, pid::text as name, usename::text as "user", application_name as application, state,
    xact_start as began_at, query_start as query_began_at, coalesce(backend_xid, backend_xmin)::text as xid,
    extract(epoch from clock_timestamp() - xact_start)::float8 as seconds,
    greatest(age(backend_xid), age(backend_xmin)) as transactions
from pg_stat_activity
where (backend_xid is not null or backend_xmin is not null) and (datid is null or datname = current_database())
    and pid not in (select pid from pg_stat_progress_vacuum) and pid <> pg_backend_pid()
    and (leader_pid is null or backend_type <> 'parallel worker')
union all
select
    'prepared transaction', gid, owner::text, null, null, prepared, null, transaction::text,
    extract(epoch from clock_timestamp() - prepared)::float8, age(transaction)
from pg_prepared_xacts where database = current_database()
union all
select
    'replication slot', slot_name::text, null, null, case when active then 'active' else 'inactive' end, null, null,
    xmin::text, null, age(xmin)
from pg_replication_slots where xmin is not null
order by transactions desc
