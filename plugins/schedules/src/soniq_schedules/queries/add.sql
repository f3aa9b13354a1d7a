-- Add a schedule, unless there is one of its name.
insert into {schema}.schedule (name, job, source, spec, args, serializer, digest, version, anchor, next_at, wake_at)
values ($1, $2, $3, $4::text::jsonb, $5, $6, $7, $8, $9, $10::timestamptz, $10::timestamptz)
on conflict (name) do nothing returning name
