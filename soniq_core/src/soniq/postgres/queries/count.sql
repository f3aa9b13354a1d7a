-- How many jobs match; null is "any". `$5`: of those that are not finished, only those that are due later.
select
    (
        select count(*) from {schema}.job
        where ($1::text is null or status = $1) and ($2::text is null or name = $2) and ($3::text is null or queue = $3)
            and ($4::text is null or tags @> array[$4])
            and (not $5::boolean or scheduled_at > now())
    ) + (
        select count(*) from {schema}.history
        where ($1::text is null or status = $1) and ($2::text is null or name = $2) and ($3::text is null or queue = $3)
            and ($4::text is null or tags @> array[$4])
    ) as jobs
