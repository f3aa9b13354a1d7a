-- How much is owed to each plugin, and for how long.
select plugin, count(*) as events, date_part('epoch', now() - min(at)) as waiting from {schema}.owed group by plugin order by plugin
