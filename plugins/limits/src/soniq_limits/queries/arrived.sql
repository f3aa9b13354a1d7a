select free, told, busy from {schema}.arrived_1($1, $2)
