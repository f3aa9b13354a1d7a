-- The live workers.
select queues, slots, busy from {schema}.workers()
