-- One job without a dedup key and without what `extras` holds in insert.sql, which is the usual one. Its id is new: without
-- `on conflict` the indexes are looked into once only.
insert into {schema}.job (
    id, name, queue, priority, max_attempts, serializer, keep, args, headers, scheduled_at
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb, statement_timestamp())
