"""The page about FastAPI to the letter: its files, under a real web server, with a worker beside
it.
"""

import json
import os
import signal
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

import pytest

from tests.support.forks import Forks

from .pages import DOCS, FILE, blocks
from .test_testing import database

__all__ = ["database"]

LIMIT = 30.0


def answer(url: str, method: str = "GET") -> Any:
    """What is answered, once there is a server."""
    ends = time.monotonic() + LIMIT
    while True:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, method=method), timeout=LIMIT
            ) as response:
                return json.load(response)
        except URLError as error:
            if not isinstance(error.reason, ConnectionError) or time.monotonic() > ends:
                raise
            time.sleep(0.1)


@pytest.mark.parametrize("module", ["shop", "orders"])
def test_the_service_answers_and_its_worker_works(
    module: str, tmp_path: Path, database: str, forks_with_plugins: Forks
) -> None:
    for block in blocks(DOCS / "how-to" / "fastapi.md", "python"):
        for word in block.words:
            (tmp_path / word.removeprefix(FILE)).write_text(block.text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    url = urlsplit(database)._replace(scheme="postgresql+asyncpg").geturl()
    environment = {**os.environ, "SONIQ_DATABASE_URL": database, "DATABASE_URL": url}
    commands = [
        ["-m", "uvicorn", f"{module}:api", "--port", port],
        ["-m", "soniq", "worker", "shop:eq"],
    ]
    running = [
        forks_with_plugins.start(command, cwd=tmp_path, env=environment) for command in commands
    ]
    try:
        ordered = answer(f"http://127.0.0.1:{port}/orders?customer=Ada", "POST")
        ends, job = time.monotonic() + LIMIT, {"status": ""}
        while module == "shop" and job["status"] != "done" and time.monotonic() < ends:
            job = answer(f"http://127.0.0.1:{port}/jobs/{ordered['job']}")
        assert module == "orders" or job == {"status": "done", "result": "invoice of order 1"}
        assert ordered["job"]
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.communicate(LIMIT)
