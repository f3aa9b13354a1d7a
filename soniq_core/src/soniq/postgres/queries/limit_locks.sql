-- In a transaction: no statement of it waits longer for a lock, as with the function that settles.
set local lock_timeout = '2s'
