"""Serving the dashboard by itself, until a signal ends it."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from soniq import Soniq

from .app import dashboard
from .gate import Authorize

GRACE = 3
"""Seconds that answers may take once a signal has come."""


class Server(uvicorn.Server):
    """A server that leaves signals to who runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 chooses one. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


async def serve(
    app: Soniq,
    authorize: Authorize,
    listens: socket.socket,
    *,
    prefix: str = "",
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve the dashboard of a started app until SIGINT or SIGTERM."""
    config = uvicorn.Config(
        dashboard(app, authorize=authorize),
        root_path=prefix.rstrip("/"),
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # who asks is who is connected, whatever a header says
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    server, loop = Server(config), asyncio.get_running_loop()

    def end() -> None:
        server.should_exit = True

    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, end)
    try:
        ready()
        await server.serve(sockets=[listens])
    finally:
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)
