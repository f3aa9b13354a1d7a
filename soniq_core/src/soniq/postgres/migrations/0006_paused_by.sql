-- oldest: 1
-- Who paused a queue, and why: both are what somebody says, and may be unknown.

alter table {schema}.paused_queue add column paused_by text, add column reason text;
