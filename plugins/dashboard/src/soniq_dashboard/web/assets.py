"""The style sheet, the script and the icon: the same for all, kept by browsers for ever."""

import hashlib
from collections.abc import Mapping
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

KINDS = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
FOR_EVER = "public, max-age=31536000, immutable"


class Assets:
    """The files by name; the address of each has a hash of what it holds."""

    def __init__(self) -> None:
        folder = files("soniq_dashboard.web") / "static"
        self._held: Mapping[str, bytes] = {
            each.name: each.read_bytes() for each in folder.iterdir()
        }
        self._hashes = {
            name: hashlib.sha256(held).hexdigest()[:12] for name, held in self._held.items()
        }

    def path(self, name: str) -> str:
        """Where a file is, below the dashboard."""
        return f"/static/{self._hashes[name]}/{name}"

    async def answer(self, request: Request) -> Response:
        """A file; 404 for an address that it no longer has."""
        name = request.path_params["name"]
        if self._hashes.get(name) != request.path_params["hash"]:
            raise HTTPException(404)
        return Response(
            self._held[name],
            media_type=KINDS[name.rpartition(".")[2]],
            headers={"Cache-Control": FOR_EVER},
        )
