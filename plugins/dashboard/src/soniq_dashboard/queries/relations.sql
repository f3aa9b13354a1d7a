-- The tables of some schemas, and how large they are with their indexes; of partitions, what they are for. Rows as the planner
-- takes them, and dead ones as the statistics have it.
select
    space.nspname as schema, relation.relname as name, pg_get_expr(relation.relpartbound, relation.oid) as bounds,
    case when relation.reltuples >= 0 then relation.reltuples::bigint end as rows,
    pg_total_relation_size(relation.oid) as size, pg_stat_get_dead_tuples(relation.oid) as dead,
    greatest(
        pg_stat_get_last_autovacuum_time(relation.oid), pg_stat_get_last_vacuum_time(relation.oid)
    ) as vacuumed_at
from (
    select oid, relname, relnamespace, relpartbound, reltuples from pg_class
    where relkind = 'r' and relnamespace = any(array(select to_regnamespace(each)::oid from unnest($1::text[]) as each))
    limit 500
) as relation
join pg_namespace as space on space.oid = relation.relnamespace
order by size desc, name
