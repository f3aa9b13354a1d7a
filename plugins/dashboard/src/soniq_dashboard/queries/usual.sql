-- How long attempts of some jobs ($1) took within so many seconds ($2).
select name, {summed:took_buckets}
from {schema}.series where tier = 60 and at > clock_timestamp() - make_interval(secs => $2) and name = any($1) group by name
