-- Remove the rows of workers that were silent for longer than their lease. A claim under way holds its row, and is waited for.
delete from {schema}.worker where id in (
    select id from {schema}.worker where seen_at + make_interval(secs => lease) < clock_timestamp() for update skip locked
) returning id
