-- Some of the jobs that somebody holds, the oldest first, after `$2`.
select id from {schema}.job where status = 'held' and $1::text = any(held_by) and id > $2 order by id limit $3
