-- Change a schedule that is locked.
update {schema}.schedule set
    job = $2, spec = $3::text::jsonb, args = $4, serializer = $5, digest = $6, version = $7, next_at = $8::timestamptz,
    wake_at = case when paused_at is null then $8::timestamptz end,
    moved_at = clock_timestamp(), failures = 0, error = null, error_at = null
where name = $1
