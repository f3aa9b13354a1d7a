select keys, ids, wait from {schema}.due_1($1)
