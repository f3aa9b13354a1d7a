-- The newest lines before an id, by a user or of an action, where one is given.
select
    line.id, at, line.action, line.by, queue, line.reason, jobs, job_ids[1:3] as job_ids, operation_id,
    operation.action as of_action, changed + asked as done, operation.state
from {schema}.audit as line left join {schema}.operation on operation.id = operation_id
where ($1::int8 is null or line.id < $1) and ($2::text is null or line.by = $2) and ($3::text is null or line.action = $3)
order by line.id desc limit $4
