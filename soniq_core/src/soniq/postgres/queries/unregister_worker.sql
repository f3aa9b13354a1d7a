delete from {schema}.worker where id = $1
