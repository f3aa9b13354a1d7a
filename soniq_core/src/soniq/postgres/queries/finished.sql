-- How many finished jobs there are of each queue and status: where there are no more than `$1` of all (`few`), of each; else
-- of those that did not end well, the newest `$2` of each status. Then also, in rows without a status, what the planner knows of
-- each partition: rows and pages when it was last analyzed, pages now, and which share of the rows is of which queue.
with many as materialized (
    select count(*) >= $1 as yes from (select from {schema}.history order by id limit $1) as oldest
)
select
    queue, status, count(*) as jobs, true as few, null::float8 as rows, null::int8 as pages, null::int8 as pages_now,
    null::text[] as queues, null::float4[] as shares
from (select queue, status from {schema}.history where not (select yes from many) order by id desc limit $1) as newest
group by queue, status
union all
select queue, 'dead', count(*), false, null, null, null, null, null from (
    select queue from {schema}.history
    where status = 'dead' and status <> 'done' and (select yes from many) order by id desc limit $2
) as newest group by queue
union all
select queue, 'cancelled', count(*), false, null, null, null, null, null from (
    select queue from {schema}.history
    where status = 'cancelled' and status <> 'done' and (select yes from many) order by id desc limit $2
) as newest group by queue
union all
select
    null, null, null, false, part.reltuples, part.relpages, pg_relation_size(part.oid) / current_setting('block_size')::int,
    stats.most_common_vals::text::text[], stats.most_common_freqs
from pg_inherits join pg_class part on part.oid = inhrelid join pg_namespace space on space.oid = part.relnamespace
left join lateral (
    select most_common_vals, most_common_freqs from pg_stats
    where schemaname = space.nspname and tablename = part.relname and attname = 'queue' and not inherited
    offset 0 -- one look by an index for each partition
) as stats on true
where inhparent = '{schema}.history'::regclass and (select yes from many)
