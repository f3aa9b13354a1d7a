-- Where the partitions of history end that belong to a time, and the time now.
select bound, now() as now from {schema}.retention
