-- The live job that holds the key of a finished one.
select job.id from {schema}.history join {schema}.job on job.name = history.name and job.dedup_key = history.dedup_label
where history.id = $1
