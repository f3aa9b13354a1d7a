-- Which settlements changed nothing: the job was taken from this worker before.
select id from {schema}.lost_settlements_1($1, $2)
