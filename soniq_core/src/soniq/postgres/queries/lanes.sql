-- The lanes of these queues, or of all, and whether the queue is paused.
select distinct queue, priority, exists (select from {schema}.paused_queue p where p.queue = lane.queue) as paused
from {schema}.lane where $1::text[] is null or queue = any($1)
