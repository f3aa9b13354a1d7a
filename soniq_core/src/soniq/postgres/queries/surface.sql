select {schema}.surface_1($1, $2, $3)
