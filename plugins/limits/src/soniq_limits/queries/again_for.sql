-- All keys of a limit where jobs wait are to be looked at.
insert into {schema}.again (key)
select key from {schema}.key where name = any($1::text[]) and exists (select from {schema}.waiting where at = key.key)
