-- Which settlements changed nothing: the job was taken from this worker before.
select s.id from unnest($1::uuid[], $2::bigint[]) as s (id, claim)
where not exists (select from {schema}.history h where h.id = s.id and h.claim = s.claim)
    and not exists (select from {schema}.job j where j.id = s.id and j.claim = s.claim and j.status = 'queued')
