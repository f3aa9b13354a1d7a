"""Where the server's socket lies."""

import hashlib
import os
import re
import tempfile
from pathlib import Path

from .account import Account, let_through
from .errors import EmbeddedServerError

PORT = 5432  # names the socket; nothing listens on TCP
PATH_LIMIT = 100  # bytes; the systems allow 103 to 107


def socket_folder(data: Path, account: Account) -> Path:
    """The data folder, or a private one among the temporary files.

    That is where its path is too long for a socket, or has characters that PostgreSQL's list of
    folders or a URL could take for their own.
    Others find it in postmaster.pid. Raises EmbeddedServerError, and OSError from the file system.
    """
    if _fits(data):
        return data
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:10]
    for parent in (
        Path(tempfile.gettempdir()).resolve(),
        Path("/tmp").resolve(),  # noqa: S108 (mkdtemp is private)
    ):
        if _fits(parent / f"soniq-{digest}-12345678"):
            folder = Path(tempfile.mkdtemp(prefix=f"soniq-{digest}-", dir=parent))
            if not account.is_own:
                os.chown(folder, account.uid, account.gid)
                let_through(account, folder)
            return folder
    raise EmbeddedServerError(
        f"{data} is too long or unusual a path for a socket,"
        " and so is the folder for temporary files",
        folder=data.parent,
    )


def _fits(folder: Path) -> bool:
    path = os.fsencode(folder / f".s.PGSQL.{PORT}")
    return len(path) <= PATH_LIMIT and re.fullmatch(rb"[A-Za-z0-9/._-]+", path) is not None
