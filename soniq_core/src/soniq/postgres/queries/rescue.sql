-- Of these jobs, give those whose workers are no more back to the queue, or end those that have used up their attempts. A
-- start that was written down is charged; a job that was to be cancelled is. The claim number rises, so that a late
-- settlement is known as one. `$2`: error as JSON for those charged.
select * from {schema}.rescue_1($1, $2)
