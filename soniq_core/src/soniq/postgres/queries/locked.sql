-- Those of the jobs that somebody else has locked; locks the others.
select id from {schema}.locked_1($1)
