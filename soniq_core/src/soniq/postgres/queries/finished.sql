-- How many finished jobs are kept, by queue and status; where there are many, those done are estimated.
select queue, status, jobs, p_exact as exact from {schema}.finished_1()
