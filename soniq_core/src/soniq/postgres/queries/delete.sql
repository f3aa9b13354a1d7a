-- Forget finished jobs whose results are in one of the stores `$2`; what these are to delete.
select * from {schema}.delete_1($1, $2)
