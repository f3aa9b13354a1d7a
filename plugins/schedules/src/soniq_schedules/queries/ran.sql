-- A job was made of a schedule out of turn, while none was unfinished.
update {schema}.schedule set last_job = $2 where name = $1
