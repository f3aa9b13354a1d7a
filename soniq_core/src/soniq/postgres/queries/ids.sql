-- The ids of the newest jobs that match; null is "any".
select id from {schema}.ids_1($1, $2, $3, $4, $5, $6)
