-- Cancel jobs that have not been claimed. Returns what `settled` observers want to know.
select * from {schema}.cancel_waiting_1($1, $2)
