-- Say that workers of this version of the code live, and forget those that have not been seen for a day.
with forgotten as (
    delete from {schema}.version where seen_at < clock_timestamp() - interval '1 day' and digest <> $1
)
insert into {schema}.version (digest, jobs, schedules) values ($1, $2, $3)
on conflict (digest) do update set seen_at = clock_timestamp()
