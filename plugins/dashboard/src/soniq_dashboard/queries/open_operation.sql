-- An operation, if it is still open and due; idle: for how many seconds nothing was done for it.
select *, date_part('epoch', clock_timestamp() - updated_at) as idle from {schema}.operation
where id = $1 and state = 'open' and due_at <= clock_timestamp()
