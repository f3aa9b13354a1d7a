-- What is there of the schedules in the code of version $2, and whether a later version of the code, whose workers live,
-- has written it.
select
    name, source, digest,
    exists (
        select from {schema}.version as theirs, {schema}.version as ours
        where theirs.digest = schedule.version and ours.digest = $2 and theirs.first_seen > ours.first_seen
            and abs(date_part('epoch', clock_timestamp() - theirs.seen_at)) < $3
    ) as newer
from {schema}.schedule where name = any($1)
