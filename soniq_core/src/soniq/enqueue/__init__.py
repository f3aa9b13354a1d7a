"""From a call of enqueue to a row: the call (producer), the rows (outbox), the INSERT (insert)."""
