"""A Redis server as it comes, on a socket in a temporary folder."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.support.redis_program import redis_server

STARTS = 20
"""Seconds within which it must answer."""


class Redis:
    def __init__(self, socket: Path) -> None:
        self.url = f"redis+socket://{socket}"
        self._client = redis.Redis(unix_socket_path=str(socket))

    def settings(self) -> str:
        """Its version, and how it writes to disk."""
        version = self._client.info("server")["redis_version"]
        found = self._client.config_get("appendonly") | self._client.config_get("save")
        return f"{version}, appendonly={found['appendonly']}, save='{found['save']}'"

    def empty(self) -> None:
        self._client.flushall()

    def close(self) -> None:
        self._client.close()

    def wait(self, process: "subprocess.Popen[bytes]") -> None:
        ends = time.monotonic() + STARTS
        while True:
            try:
                self._client.ping()
                return
            except redis.ConnectionError:
                assert process.poll() is None, "the Redis server did not start"
                assert time.monotonic() < ends, "the Redis server does not answer"
                time.sleep(0.02)


@contextmanager
def running() -> Iterator[Redis]:
    program = redis_server()
    assert program, "there is no redis-server"
    with tempfile.TemporaryDirectory(prefix="soniq-bench-") as folder:
        socket = Path(folder, "socket")
        process = subprocess.Popen(
            [program, "--port", "0", "--unixsocket", str(socket), "--dir", folder],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        server = Redis(socket)
        try:
            server.wait(process)
            yield server
        finally:
            server.close()
            process.terminate()
            process.wait()
