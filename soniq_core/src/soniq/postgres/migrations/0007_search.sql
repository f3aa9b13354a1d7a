-- oldest: 1
-- For searches.

-- Bytes as JSON that can be compared; null where they are none, so that one row never keeps others from being found.
create function {schema}.jsonb_1(data bytea) returns jsonb
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return convert_from(data, 'UTF8')::jsonb;
exception when others then
    return null;
end
$$;

-- Those that did not end well, by when that was. Where jobs are kept already, workers make it beside all that is going on,
-- partition by partition (indexes.py): made here it would keep what settles waiting.
do $$
begin
    if not exists (select from {schema}.history) then
        create index history_ended on {schema}.history (finished_at, id) where status <> 'done';
    end if;
end
$$;
