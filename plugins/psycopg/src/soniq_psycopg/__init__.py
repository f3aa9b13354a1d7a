"""psycopg for Soniq: its connections for `connection=`, and for handlers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .plugin import PsycopgPlugin

if TYPE_CHECKING:
    from .limited import connect, connect_async
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

ON_PSYCOPG = {
    **dict.fromkeys(("connect", "connect_async"), "limited"),
    **dict.fromkeys(("AsyncPsycopg", "Row", "ThreadedPsycopg"), "transaction"),
    **dict.fromkeys(("conninfo", "options"), "url"),
}


if not TYPE_CHECKING:  # which would take any name for one that is there

    def __getattr__(name: str) -> Any:
        """What imports psycopg, which an app may have the plugin for and never use."""
        if name in ON_PSYCOPG:
            return getattr(import_module(f"{__name__}.{ON_PSYCOPG[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
