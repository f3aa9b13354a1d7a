select {schema}.wait_1()
