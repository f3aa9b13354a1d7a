select {schema}.wait_1() as wait
