insert into {schema}.lane (queue, priority) select * from unnest($1::text[], $2::smallint[]) on conflict do nothing
