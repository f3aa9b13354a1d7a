-- Say that the worker lives, and how far its jobs are; which of the jobs it runs are to be cancelled. No row: the worker
-- was taken for dead.
select to_cancel from {schema}.heartbeat_1($1, $2, $3, $4)
