"""The error of this plugin."""

from pathlib import Path

from soniq import SoniqError


class EmbeddedServerError(SoniqError):
    """The embedded server cannot be started or stopped; `folder` is the one it lives in."""

    def __init__(self, message: str, *, folder: Path) -> None:
        super().__init__(message)
        self.folder = folder
