"""psycopg for Soniq: its connections for `connection=`, and for handlers."""

from .limited import connect, connect_async
from .plugin import PsycopgPlugin
from .transaction import AsyncPsycopg, Row, ThreadedPsycopg
from .url import conninfo, options

__all__ = [
    "AsyncPsycopg",
    "PsycopgPlugin",
    "Row",
    "ThreadedPsycopg",
    "connect",
    "connect_async",
    "conninfo",
    "options",
]  # fmt: skip
