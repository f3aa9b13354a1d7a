-- The names of what is due, as in due.sql.
select name from {schema}.schedule
where wake_at <= clock_timestamp() and case source
    when 'code' then name = any($1) and (digest = any($3) or not exists (
        select from {schema}.version as writer
        where writer.digest = schedule.version
            and abs(date_part('epoch', clock_timestamp() - writer.seen_at)) < $4
    ))
    else job = any($2) end
order by wake_at
limit $5
