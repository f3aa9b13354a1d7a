update {schema}.worker set waiting = $2 where id = $1
