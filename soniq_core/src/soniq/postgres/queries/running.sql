-- Lock those of these claims that still stand: a settlement of them changes their rows.
select job.id from {schema}.job
join unnest($1::uuid[], $2::bigint[]) as mine (id, claim) on job.id = mine.id and job.claim = mine.claim
where job.status = 'running'
order by job.id
for update of job
