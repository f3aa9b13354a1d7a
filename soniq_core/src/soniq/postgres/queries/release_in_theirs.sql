-- Release jobs in a caller's transaction, with which workers are told.
select {schema}.release($1::uuid[], $2::text, $3::boolean) as released
