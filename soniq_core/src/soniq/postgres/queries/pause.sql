-- Pause a queue. Where it is paused already it stays so since then, and a reason takes the place of the one before. Whether
-- anything changed.
insert into {schema}.paused_queue (queue, reason, paused_by) values ($1, $2, $3)
on conflict (queue) do update set reason = excluded.reason, paused_by = excluded.paused_by where excluded.reason is not null
returning queue
