-- In a transaction: a child's dedup key that an open transaction holds is not waited for.
set local lock_timeout = '200ms'
