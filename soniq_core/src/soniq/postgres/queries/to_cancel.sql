-- Which of these jobs this worker runs and is to cancel.
select id from {schema}.to_cancel_1($1, $2)
