-- One job with all that is kept of it, wherever it is; values of more than `$2` bytes are left out.
select * from {schema}.detail_1($1, $2)
