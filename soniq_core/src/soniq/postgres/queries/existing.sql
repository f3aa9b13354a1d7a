-- Which of these jobs are there, alive or finished.
select id from {schema}.existing_1($1)
