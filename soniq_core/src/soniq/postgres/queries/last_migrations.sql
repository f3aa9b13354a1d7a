-- The steps that were taken last, which share a transaction.
select namespace, version from {schema}.migration
where applied_at = (select max(applied_at) from {schema}.migration)
order by namespace <> 'soniq', namespace, version
