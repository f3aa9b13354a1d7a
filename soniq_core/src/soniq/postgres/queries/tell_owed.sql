-- Have the function `$2` of the plugin `$1` do what it is owed of jobs that came in, `$3` events at most; the rest are cursors
-- of lanes. What is said of it is in migrations/0014_owed_in_sql.sql.
select * from {schema}.tell_owed_1($1, $2, $3, $4, $5, $6, $7)
