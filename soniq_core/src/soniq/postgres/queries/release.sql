-- Let jobs go that `$2` holds, or from all holders where that is null; `$3` to `$6`: cursors of lanes; `$7`: to the end
-- of them. Returns those that this changed.
select id, queue, priority, scheduled_at, held_by from {schema}.release_2($1, $2, $3, $4, $5, $6, $7, clock_timestamp())
