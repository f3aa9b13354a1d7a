-- When the tables were made, to the microsecond: what tells one database that has them from another.
select extract(epoch from applied_at)::text from {schema}.migration where namespace = 'soniq' and version = 1
