-- The newest operations before an id, or the one of an id.
select * from {schema}.operation where ($1::int8 is null or id < $1) and ($2::int8 is null or id = $2) order by id desc limit $3
