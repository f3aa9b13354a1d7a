select {schema}.sweep_1($1)
