-- Those of the jobs that somebody else has locked; locks the others.
with free as materialized (select id from {schema}.job where id = any($1::uuid[]) for update skip locked)
select id from {schema}.job where id = any($1::uuid[]) and id not in (select id from free)
