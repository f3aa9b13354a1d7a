-- Whether something is due, or was locked and is to be looked at again.
select exists (select from {schema}.again) or coalesce({schema}.wait_1() <= 0, false) as more
