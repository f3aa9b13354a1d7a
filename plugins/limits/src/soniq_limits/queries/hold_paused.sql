select {schema}.hold_paused_1($1)
