"""From a call of enqueue to a row: the arguments (bind), the hooks (producer), the shared INSERT (outbox)."""
