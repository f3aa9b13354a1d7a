-- Take a plugin's mark off all live jobs, and its hold from what they are held by each time that they come in; drop what it is owed.
with unmarked as (
    update {schema}.job set marks = nullif(array_remove(marks, $1), '{}'), holders = nullif(array_remove(holders, $1), '{}')
    where $1::text = any(marks) or $1 = any(holders)
    returning id
), dropped as (
    delete from {schema}.owed where plugin = $1 returning id
)
select (select count(*) from unmarked) as jobs, (select count(*) from dropped) as owed
