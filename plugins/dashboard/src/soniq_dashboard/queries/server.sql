-- What PostgreSQL says of itself.
select
    current_setting('server_version') as version, current_database() as database, current_user as role,
    current_setting('max_connections')::int as connections,
    (select numbackends from pg_stat_database where datname = current_database()) as sessions,
    pg_postmaster_start_time() as started_at, pg_is_in_recovery() as standby
