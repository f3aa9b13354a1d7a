-- A plugin could not be told of this: it is told later, ever later, a minute at most.
update {schema}.owed set tries = least(tries + 1, 100), due = clock_timestamp() + make_interval(secs => least(0.5 * 2 ^ least(tries, 10), 60))
where id = $1
returning tries
