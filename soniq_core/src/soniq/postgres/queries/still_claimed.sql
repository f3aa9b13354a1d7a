-- Whether a claim of a job still stands, and will until the transaction ends.
select {schema}.still_claimed($1, $2)
