-- The operation whose turn it is, locked until the end of the transaction, so that no other batch of it runs meanwhile.
with open as materialized (
    select id, tableoid from {schema}.operation
    where state = 'open' and due_at <= clock_timestamp() order by due_at limit 100
)
select id from open where pg_try_advisory_xact_lock((tableoid::int8 << 32) + id) limit 1
