-- Schedules by name, those of a job ($1), those after a name ($2), or the one of a name ($4). Known: a worker lives that
-- can tick it.
select
    name, job, source, spec::text as spec, next_at, last_at, last_job::text, paused_at, skipped_at, error, error_at, anchor,
    exists (
        select from {schema}.version
        where abs(date_part('epoch', clock_timestamp() - seen_at)) < $5
            and case source when 'code' then schedule.name = any(schedules) else schedule.job = any(jobs) end
    ) as known
from {schema}.schedule
where ($1::text is null or job = $1) and ($2::text is null or name > $2) and ($4::text is null or name = $4)
order by name
limit $3
