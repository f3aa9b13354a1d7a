select released, behind, busy, unknown from {schema}.settled_1($1, $2, $3, $4)
