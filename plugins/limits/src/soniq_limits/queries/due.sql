select keys, ids from {schema}.due_1($1)
