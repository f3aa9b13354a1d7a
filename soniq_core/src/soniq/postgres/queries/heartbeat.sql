-- Say that the worker lives, what it runs, and how far its jobs are; which of the jobs it runs are to be cancelled. No row: the worker
-- was taken for dead.
select to_cancel from {schema}.heartbeat_2($1, $2, $3, $4, $5, $6)
