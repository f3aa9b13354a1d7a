-- Take what is owed to a plugin, `$2` at most, to tell it of that in the same transaction.
select id, job_id, kind, at, tries, what, name, queue, headers, held_by, scheduled_at from {schema}.take_owed_1($1, $2)
