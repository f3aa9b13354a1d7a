-- Lock what is due, of the schedules that this code has, the most overdue first; those that another worker has are left
-- to it, and so is what another version of the code, that lives, has otherwise than the digests of this one ($3) say.
-- $6: only the one of this name.
select name, job, spec::text as spec, args, serializer, digest, anchor, next_at, last_job, clock_timestamp() as now
from {schema}.schedule
where wake_at <= clock_timestamp() and case source
    when 'code' then name = any($1) and (digest = any($3) or not exists (
        select from {schema}.version as writer
        where writer.digest = schedule.version
            and abs(date_part('epoch', clock_timestamp() - writer.seen_at)) < $4
    ))
    else job = any($2) end
    and ($6::text is null or name = $6)
order by wake_at
limit $5
for update skip locked
