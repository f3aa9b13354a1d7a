-- What jobs are now, alive or finished, in one snapshot.
select id, status, held_by, result_store from {schema}.states_1($1)
