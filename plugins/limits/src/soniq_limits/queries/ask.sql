select {schema}.ask_1()
