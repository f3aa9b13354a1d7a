-- What plugins are to be told later.
insert into {schema}.owed (plugin, job_id, kind, what)
select plugin, job_id, kind, what::jsonb
from unnest($1::text[], $2::uuid[], $3::text[], $4::text[]) as new (plugin, job_id, kind, what)
