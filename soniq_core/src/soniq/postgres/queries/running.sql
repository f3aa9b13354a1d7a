-- Lock those of these claims that still stand: a settlement of them changes their rows.
select id from {schema}.running_1($1, $2)
