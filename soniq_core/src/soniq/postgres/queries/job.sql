-- One job, wherever it is, in one snapshot.
select * from {schema}.job_2($1)
