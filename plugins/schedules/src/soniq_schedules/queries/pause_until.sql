-- Seconds until the next of the schedules that this code has, as in due.sql; null: there is none.
select date_part('epoch', min(wake_at) - clock_timestamp()) from {schema}.schedule
where wake_at is not null and case source
    when 'code' then name = any($1) and (digest = any($3) or not exists (
        select from {schema}.version as writer
        where writer.digest = schedule.version
            and abs(date_part('epoch', clock_timestamp() - writer.seen_at)) < $4
    ))
    else job = any($2) end
