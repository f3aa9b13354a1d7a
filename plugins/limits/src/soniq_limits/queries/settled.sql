select released, busy, unknown from {schema}.settled_1($1, $2)
