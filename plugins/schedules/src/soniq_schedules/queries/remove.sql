-- Remove a schedule. No row: there is none of this name.
delete from {schema}.schedule where name = $1 returning name
