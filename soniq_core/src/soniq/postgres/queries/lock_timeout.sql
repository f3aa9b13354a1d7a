-- In a transaction: no statement of it waits longer than `$1` for a lock; what was in force before.
with previous as materialized (select current_setting('lock_timeout') as before)
select before, set_config('lock_timeout', $1, true) from previous
