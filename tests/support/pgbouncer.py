"""A PgBouncer in front of the test server."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

PGBOUNCER = shutil.which(
    "pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
)

needs_pgbouncer = pytest.mark.skipif(
    PGBOUNCER is None, reason="no pgbouncer: install Debian's package of this name"
)

SETTINGS = """
[databases]
* = host={host} port={port} user={user}{password}
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {folder}
auth_type = any
logfile = {folder}/log
pool_mode = {mode}
default_pool_size = {sessions}
max_client_conn = 500
"""


@contextmanager
def pgbouncer(url: str, *, mode: str = "transaction", sessions: int = 8) -> Iterator[Path]:
    """The folder of the socket of a PgBouncer in front of a URL's server, in `pool_mode` `mode`;
    of sessions of the server it has this many for each database.
    """
    assert PGBOUNCER is not None
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    host = query.get("host", parts.hostname or "localhost")
    folder = Path(tempfile.mkdtemp(prefix="soniq-"))
    command = [PGBOUNCER, "-q", str(folder / "pgbouncer.ini")]
    if os.geteuid() == 0:  # it does not run as root, but as whoever may use the server's socket
        account = pwd.getpwuid(os.stat(host).st_uid).pw_name if host.startswith("/") else "nobody"
        shutil.chown(folder, account)
        command[1:1] = ["-u", account]

    text = SETTINGS.format(
        host=host,
        port=query.get("port", parts.port or 5432),
        user=parts.username or pwd.getpwuid(os.geteuid()).pw_name,
        password=f" password={parts.password}" if parts.password else "",
        folder=folder,
        mode=mode,
        sessions=sessions,
    )
    (folder / "pgbouncer.ini").write_text(text)

    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (folder / ".s.PGSQL.6432").exists():
            if process.poll() is not None:
                raise RuntimeError(f"pgbouncer does not start: {(folder / 'log').read_text()}")
            time.sleep(0.01)
        yield folder
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def behind(folder: Path, url: str) -> str:
    """The URL of the same database through a PgBouncer."""
    parts = urlsplit(url)
    return f"postgresql://{parts.username or ''}@{parts.path}?host={quote(str(folder))}&port=6432"
