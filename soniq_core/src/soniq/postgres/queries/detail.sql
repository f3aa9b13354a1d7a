-- One job with all that is kept of it, wherever it is; values of more than `$2` bytes are left out.
select *, {schema}.attempts_1($1) as attempts from {schema}.detail_2($1, $2)
