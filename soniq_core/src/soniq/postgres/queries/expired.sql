-- Held jobs whose time is over, `$1` at most.
select id from {schema}.expired_1($1)
