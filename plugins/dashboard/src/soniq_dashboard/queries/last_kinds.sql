-- Which kinds of workers were known at the last sample; new: whether workers came that were new within an hour.
select kinds, exists (
    select from {schema}.gauge as earlier
    where earlier.queue = '' and earlier.deploy is not null and earlier.at > clock_timestamp() - interval '1 hour'
) as new
from {schema}.gauge where queue = '' and kinds is not null order by at desc limit 1
