-- Write down that a suspect starts now. No row: it was taken from this worker.
update {schema}.job set started = true where id = $1 and claim = $2 and status = 'running' returning id
