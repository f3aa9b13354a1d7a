select released, behind, remains from {schema}.look_1($1, $2, $3, $4)
