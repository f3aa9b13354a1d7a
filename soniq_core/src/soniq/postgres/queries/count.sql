-- How many jobs match; null is "any".
select
    (
        select count(*) from {schema}.job
        where ($1::text is null or status = $1) and ($2::text is null or name = $2) and ($3::text is null or queue = $3)
            and ($4::text is null or tags @> array[$4])
    ) + (
        select count(*) from {schema}.history
        where ($1::text is null or status = $1) and ($2::text is null or name = $2) and ($3::text is null or queue = $3)
            and ($4::text is null or tags @> array[$4])
    ) as jobs
