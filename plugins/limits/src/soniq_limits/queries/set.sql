update {schema}.limits set n = $2, changed_at = now() where name = $1 and not strict returning name
