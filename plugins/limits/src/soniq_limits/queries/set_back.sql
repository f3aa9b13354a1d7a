-- Where a clock that was ahead has been set back: starts that were noted meanwhile count from now on, of keys that would wait
-- until it is there again.
with late as (
    select key.key from {schema}.key join {schema}.limits on limits.name = key.name
    where key.due > clock_timestamp() + interval '1 minute'
        and key.due > clock_timestamp() + interval '1 minute' + {schema}.counts_for_1(limits.per)
    limit $1 for update of key skip locked
), counted as (
    update {schema}.start set at = clock_timestamp() from late
    where start.key = late.key and start.at > clock_timestamp()
)
update {schema}.key set due = clock_timestamp() from late where key.key = late.key
