"""The store: connections, the schema and its migrations, and one file for each statement."""
