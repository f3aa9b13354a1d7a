"""An embedded PostgreSQL: `EmbeddedPlugin` for apps, `EmbeddedServer` for tests and demos."""

from .errors import EmbeddedServerError
from .plugin import EmbeddedPlugin
from .server import EmbeddedServer

__all__ = ["EmbeddedPlugin", "EmbeddedServer", "EmbeddedServerError"]
