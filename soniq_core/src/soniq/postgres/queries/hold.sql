-- Hold jobs that wait, for some holders, before those who hold them already (`$3`) or behind.
select id from {schema}.hold_1($1, $2, $3)
