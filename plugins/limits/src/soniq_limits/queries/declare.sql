-- What the code says of its limits. A number that was set at run time holds until the code says another.
with said as (
    select name, n, strict from unnest($1::text[], $2::integer[], $3::boolean[]) as said (name, n, strict)
)
insert into {schema}.limits (name, n, declared, strict)
select said.name, said.n, said.n, said.strict from said
where not exists (select from {schema}.limits where limits.name = said.name and limits.declared = said.n)
order by said.name
on conflict (name) do update set n = excluded.n, declared = excluded.declared, changed_at = now()
where limits.declared <> excluded.declared
returning name
