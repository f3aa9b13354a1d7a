-- A commit that waits as an insert's does, where that waits for a standby: what was committed before it is safe then.
select pg_logical_emit_message(true, 'soniq', '')
