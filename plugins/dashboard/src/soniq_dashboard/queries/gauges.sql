-- The samples of a queue from one time to another.
select * from {schema}.gauge where at >= $1 and at < $2 and queue = $3 order by at
