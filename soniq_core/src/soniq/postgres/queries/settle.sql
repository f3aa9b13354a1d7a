-- Settle in an open transaction, which has the time of a lease from one statement to the next: what it holds, of this
-- worker and of its jobs, must not stay locked where the worker is frozen, or its machine gone. `$15`: milliseconds; `$16`:
-- how long what follows in it waits for a lock, null leaves that to whose transaction it is.
select settled.* from {schema}.settle_and_claim_2(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, '{}', '{}', '{}', '{}', 0
) as settled, pg_catalog.set_config('idle_in_transaction_session_timeout', $15, true) as idle,
    pg_catalog.set_config('lock_timeout', coalesce($16, pg_catalog.current_setting('lock_timeout')), true) as lock_wait
