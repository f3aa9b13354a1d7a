-- The buckets of a row as one number, twelve digits for each: a sum of these is a sum of all buckets, and takes a tenth of the
-- time. PostgreSQL makes them, so that rows of those who know nothing of them have them, too.
alter table {schema}.series
    add column took_packed numeric not null generated always as ({packed:took_buckets}) stored,
    add column waited_packed numeric not null generated always as ({packed:waited_buckets}) stored;
