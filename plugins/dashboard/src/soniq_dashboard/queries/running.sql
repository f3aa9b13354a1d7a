-- Of jobs that run: how far they are, whether their worker is asked to end them, and where it is.
select id::text, progress, cancel_requested, hostname, pid from {schema}.running($1::uuid[])
