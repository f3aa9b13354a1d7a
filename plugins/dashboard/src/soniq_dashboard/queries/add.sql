-- Add what was counted, and keep how much memory ($5) a process takes, where it is one of a worker; what time it is.
with written as (
    insert into {schema}.series as kept (
        at, took, waited, tier, done, dead, cancelled, retry, snooze, lost, stopped, queue, name, took_buckets, waited_buckets
    )
    select
        to_timestamp(at), took, waited, tier, done, dead, cancelled, retry, snooze, lost, stopped, queue, name, took_buckets,
        waited_buckets
    from jsonb_to_recordset($1::text::jsonb) as counted (
        at float8, took float8, waited float8, tier smallint, done integer, dead integer, cancelled integer, retry integer,
        snooze integer, lost integer, stopped integer, queue text, name text, took_buckets integer[],
        waited_buckets integer[]
    )
    order by tier, at, queue collate "C", name collate "C"
    on conflict (tier, at, queue, name) do update set
        took = kept.took + excluded.took,
        waited = kept.waited + excluded.waited,
        done = kept.done + excluded.done,
        dead = kept.dead + excluded.dead,
        cancelled = kept.cancelled + excluded.cancelled,
        retry = kept.retry + excluded.retry,
        snooze = kept.snooze + excluded.snooze,
        lost = kept.lost + excluded.lost,
        stopped = kept.stopped + excluded.stopped,
        took_buckets = {added:took_buckets},
        waited_buckets = {added:waited_buckets}
),
told as (
    insert into {schema}.process (id, hostname, pid, at, memory)
    select $2::uuid, $3::text, $4::integer, clock_timestamp(), $5::int8 where $5::int8 is not null
    on conflict (id) do update set at = excluded.at, memory = excluded.memory
)
select date_part('epoch', clock_timestamp()) as now
