-- Forget finished jobs whose results are in one of the stores `$2`, and, where it is said, whose status is `$3`; what
-- these are to delete.
select * from {schema}.delete_2($1, $2, $3)
