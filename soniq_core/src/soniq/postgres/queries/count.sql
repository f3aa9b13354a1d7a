-- How many jobs match; null is "any". `$5`: of those that are not finished, only those that are due later.
select {schema}.count_1($1, $2, $3, $4, $5) as jobs
