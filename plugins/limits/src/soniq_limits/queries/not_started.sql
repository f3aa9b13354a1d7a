-- It took so long to say that attempts start that it is not known when: they count until the jobs have ended.
update {schema}.start set at = null where id = any($1::bigint[])
