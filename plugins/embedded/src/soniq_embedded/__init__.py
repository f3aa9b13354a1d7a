"""An embedded PostgreSQL: `EmbeddedPlugin` for apps, `EmbeddedServer` for tests and demos."""

from typing import TYPE_CHECKING, Any

from .errors import EmbeddedServerError
from .plugin import EmbeddedPlugin

if TYPE_CHECKING:
    from .server import EmbeddedServer

__all__ = ["EmbeddedPlugin", "EmbeddedServer", "EmbeddedServerError"]


if not TYPE_CHECKING:  # which would take any name for one that is there

    def __getattr__(name: str) -> Any:
        """The server, whose imports an app with the plugin needs only where it has no database."""
        if name == "EmbeddedServer":
            from .server import EmbeddedServer

            return EmbeddedServer
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
