-- An attempt starts, of the claim `$3`: dates its starts to come. One that was not let go for this claim, with the keys `$2`,
-- is counted, too.
with dated as (
    update {schema}.start set at = clock_timestamp() where job_id = $1::uuid and at is null returning id, key, claim
), beside as (
    insert into {schema}.start (key, job_id, claim, at)
    select key, $1::uuid, $3::bigint, clock_timestamp() from unnest($2::text[]) as key
    where key not in (select key from dated where claim >= $3::bigint - 1)
    returning id
)
select id from dated union all select id from beside
