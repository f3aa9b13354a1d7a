update {schema}.limits set n = $2, changed_at = now() where name = $1 and kind <> 'sequence' returning name
