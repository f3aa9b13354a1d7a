-- Say that the worker lives; which of the jobs it runs are to be cancelled. No row: the worker was taken for dead.
with me as (update {schema}.worker set seen_at = clock_timestamp() where id = $1 returning id)
select array(select id from {schema}.job where id = any($2::uuid[]) and worker_id = $1 and cancel_requested) from me
