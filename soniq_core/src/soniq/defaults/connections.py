"""`connection=` of an enqueue: asyncpg's own connections, of a pool or not."""

import asyncio

from soniq.errors import InvalidOption
from soniq.hooks.markers import hookimpl
from soniq.transaction import TransactionConnection, is_asyncpg


class ConnectionsPlugin:
    """An asyncpg connection is what Soniq itself works with."""

    name = "connections"

    @hookimpl
    def adapt_connection(self, obj: object) -> TransactionConnection | None:
        if not is_asyncpg(obj):
            return None
        loop = asyncio.get_running_loop()
        if getattr(obj, "_loop", loop) is not loop:
            raise InvalidOption(
                "connection= is an asyncpg connection of another event loop than the app's; await"
                " the app's enqueue in that loop. For code that is not asynchronous, soniq-psycopg"
                " takes a psycopg.Connection",
                option="connection",
            )
        return obj
