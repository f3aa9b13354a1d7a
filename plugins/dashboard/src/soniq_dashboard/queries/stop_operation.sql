-- Stop an operation that is open, and keep who did it; its id. A batch that runs is still counted.
with stopped as (
    update {schema}.operation set state = 'stopped', stopped_by = $2, ended_at = clock_timestamp()
    where id = $1 and state = 'open' returning id
),
told as (
    insert into {schema}.audit (operation_id, jobs, action, by, job_ids) select id, 0, 'stop', $2, '{}' from stopped
)
select id from stopped
