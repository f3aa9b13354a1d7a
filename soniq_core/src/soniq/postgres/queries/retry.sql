-- Run jobs again, or at once: dead and cancelled ones are taken out of history and queued with all their attempts, their
-- claim number carried on, or held by those who hold them each time that they come in; those that are queued for a later time are due now. `$2` to `$6`: what is to change; `$7`: who says so;
-- `$8`: only those that are of this status.
-- Returns those that wait now, whether this changed them, whether they came back out of history, are held, and whether a
-- plugin is to be told of it; and more of those that came back.
select id, queue, changed, back, held, owed, name, priority, headers, tags, marks, held_by
from {schema}.retry_3($1, $2, $3, $4, $5, $6, $7, $8)
