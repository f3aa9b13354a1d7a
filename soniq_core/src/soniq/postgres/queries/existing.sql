-- Which of these jobs are there, alive or finished.
select id from {schema}.job where id = any($1::uuid[])
union all
select id from {schema}.history where id = any($1::uuid[])
