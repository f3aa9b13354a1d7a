-- Up to which migration the tables are, of the core and of each plugin that has some.
select namespace as owner, max(version) as version, max(applied_at) as applied_at
from {schema}.migration group by namespace order by namespace
