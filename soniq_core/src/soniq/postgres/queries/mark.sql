-- Mark jobs that wait, for plugins that are owed that they came in.
select id from {schema}.mark_1($1, $2)
