-- The live job that holds the key of a finished one.
select id from {schema}.holder_of_key_1($1)
