"""The plugin: a database for an app that was given none."""

import asyncio
import os
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from soniq import hookimpl
from soniq.errors import SoniqWarning

if TYPE_CHECKING:
    from .server import EmbeddedServer


class EmbeddedPlugin:
    """Gives an app without a database URL an embedded PostgreSQL, shared within the project.

    `folder` is where the server and its data live: the argument, else SONIQ_EMBEDDED_FOLDER, else a
    folder of the user's data directory that belongs to the project around the current directory.
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = folder
        self._servers: WeakKeyDictionary[object, EmbeddedServer] = WeakKeyDictionary()

    @hookimpl
    async def database_url(self, app: object) -> str:
        """Start or join the project's server. Raises EmbeddedServerError."""
        # Not with the plugin: an app that has a database needs none of it
        from .project import project_folder
        from .server import EmbeddedServer

        server = self._servers.get(app)
        if server is None:
            chosen = self.folder or os.environ.get("SONIQ_EMBEDDED_FOLDER")
            server = EmbeddedServer(chosen or project_folder(Path.cwd()))
        _announce(server.folder)

        # Before the start: where that is cancelled, the next call goes on with the same server
        self._servers[app] = server
        return await asyncio.to_thread(server.start)

    @hookimpl
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """When the app closes, end its use of the server."""
        try:
            yield
        finally:
            server = self._servers.pop(app, None)
            if server is not None:
                await asyncio.to_thread(server.stop)


_announced: set[Path] = set()


def _announce(folder: Path) -> None:
    """Say once in this process that the data lie in this folder."""
    if folder not in _announced:
        _announced.add(folder)
        message = SoniqWarning(
            "no database URL was given: using an embedded PostgreSQL, meant for development, in"
            f" {folder}\n  (SONIQ_DATABASE_URL or Soniq(database_url=...) chooses another)"
        )
        warnings.warn_explicit(message, SoniqWarning, "soniq-embedded", 1)  # of no line of code
