-- How large each partition of history is, and what the planner knows of it: rows and pages when it was last analyzed, and
-- which share of the rows is of which queue.
select
    part.reltuples as rows, part.relpages as pages, pg_relation_size(part.oid) / current_setting('block_size')::int as pages_now,
    stats.most_common_vals::text::text[] as queues, stats.most_common_freqs as shares
from pg_inherits join pg_class part on part.oid = inhrelid join pg_namespace space on space.oid = part.relnamespace
left join pg_stats stats
    on stats.schemaname = space.nspname and stats.tablename = part.relname and stats.attname = 'queue' and not stats.inherited
where inhparent = '{schema}.history'::regclass
