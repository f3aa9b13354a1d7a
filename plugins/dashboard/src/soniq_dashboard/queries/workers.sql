-- The live workers.
select queues, slots, busy, version, names from {schema}.workers_2()
