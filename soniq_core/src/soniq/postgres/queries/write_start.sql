-- Write down that a suspect starts now. No row: it was taken from this worker.
select id from {schema}.write_start_1($1, $2)
