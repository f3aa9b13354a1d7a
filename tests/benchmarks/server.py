"""The server that a benchmark runs on: the one in SONIQ_TEST_DATABASE_URL, or an embedded one in a
temporary folder.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from soniq_embedded import EmbeddedServer

OPTIONS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "max_connections": "200"}


@contextmanager
def server() -> Iterator[str]:
    """The URL of a server with durable commits."""
    given = os.environ.get("SONIQ_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with (
        tempfile.TemporaryDirectory(prefix="soniq-bench-") as folder,
        EmbeddedServer(Path(folder), options=OPTIONS) as embedded,
    ):
        yield embedded.start()
