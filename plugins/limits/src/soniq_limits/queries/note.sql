-- It took so long to note that attempts start that it is not known when. They start now, or, where `$2` is false, count until
-- the jobs have ended.
update {schema}.start set at = case when $2 then clock_timestamp() end where id = any($1::bigint[])
