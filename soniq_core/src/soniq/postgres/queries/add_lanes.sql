-- Note lanes where they are missing. Returns those that were committed before, which no rollback takes away again.
with wanted as (
    select * from unnest($1::text[], $2::smallint[]) as wanted (queue, priority)
), added as (
    insert into {schema}.lane (queue, priority)
    select queue, priority from wanted
    where not exists (select from {schema}.lane where (lane.queue, lane.priority) = (wanted.queue, wanted.priority))
)
select distinct queue, priority from {schema}.lane join wanted using (queue, priority)
where added_in is distinct from pg_current_xact_id_if_assigned()
