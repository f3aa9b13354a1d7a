-- Keep how workers were that fell silent.
insert into {schema}.silent (id, seen_at, worker)
select (each ->> 'worker_id')::uuid, (each ->> 'seen_at')::timestamptz, each
from jsonb_array_elements($1::text::jsonb) as each
on conflict (id) do nothing
