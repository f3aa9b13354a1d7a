"""An HTTP server on loopback that takes webhooks, and answers as a test wants it to."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread
from typing import NamedTuple

LIMIT = 30.0
"""Seconds that a test waits for a request."""


class Server(ThreadingHTTPServer):
    request_queue_size = 200  # more than come at once: a full queue resets connections


class Posted(NamedTuple):
    """A request that arrived."""

    path: str
    headers: Message
    body: bytes


class Receiver:
    """What arrived, and what is answered: `answers` in turn, then 204."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.posted: list[Posted] = []
        self._waiting: Queue[Posted] = Queue()

    async def next(self) -> Posted:
        """The next request; it may have arrived already."""
        return await asyncio.to_thread(self._waiting.get, timeout=LIMIT)

    def take(self, request: Posted) -> tuple[int, dict[str, str]]:
        self.posted.append(request)
        self._waiting.put(request)
        return self.answers.pop(0) if self.answers else (204, {})


@contextmanager
def receivers() -> Iterator[Receiver]:
    """A receiver that listens while the test runs."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers = receiver.take(Posted(self.path, self.headers, body))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None: ...

    server = Server(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join(LIMIT)
        server.server_close()
