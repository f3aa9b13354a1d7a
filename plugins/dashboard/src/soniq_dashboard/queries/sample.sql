-- Keep a sample of each queue: of each minute the highest of each.
insert into {schema}.gauge as kept (at, oldest, waiting, scheduled, running, held, workers, slots, busy, queue, kinds, deploy)
select
    date_trunc('minute', clock_timestamp()), oldest, waiting, scheduled, running, held, workers, slots, busy, queue, kinds, deploy
from jsonb_to_recordset($1::text::jsonb) as seen (
    oldest float8, waiting integer, scheduled integer, running integer, held integer, workers integer, slots integer,
    busy integer, queue text, kinds text[], deploy text
)
order by queue collate "C"
on conflict (at, queue) do update set
    oldest = greatest(kept.oldest, excluded.oldest),
    waiting = greatest(kept.waiting, excluded.waiting),
    scheduled = greatest(kept.scheduled, excluded.scheduled),
    running = greatest(kept.running, excluded.running),
    held = greatest(kept.held, excluded.held),
    workers = greatest(kept.workers, excluded.workers),
    slots = greatest(kept.slots, excluded.slots),
    busy = greatest(kept.busy, excluded.busy),
    kinds = coalesce(excluded.kinds, kept.kinds),
    deploy = coalesce(kept.deploy, excluded.deploy)
