-- What the code says of its limits. A number that was set at run time holds until the code says another.
with said as (
    select name, kind, n, per from unnest($1::text[], $2::text[], $3::integer[], $4::float8[]) as said (name, kind, n, per)
)
insert into {schema}.limits (name, kind, n, declared, per)
select said.name, said.kind, said.n, said.n, said.per from said
where not exists (
    select from {schema}.limits
    where limits.name = said.name and limits.declared = said.n and limits.per is not distinct from said.per
)
order by said.name
on conflict (name) do update set n = excluded.n, declared = excluded.declared, per = excluded.per, changed_at = now()
where limits.declared <> excluded.declared or limits.per is distinct from excluded.per
returning name
