-- How many live workers there are, and how many of them know a job.
select count(*) as workers, count(*) filter (where $1 = any(names)) as know from {schema}.workers_2()
