"""What an app has left behind after it was closed: tasks, threads, connections to the database."""

import asyncio
import os
import socket
import stat
import threading
from collections.abc import Collection, Iterator

PATIENCE = 2.0
"""Seconds that what is ending has to end."""


class Leftovers:
    """What there was before, and what there is more than that later. `threads`: how names of those
    begin that stay.
    """

    def __init__(self, threads: Collection[str] = ()) -> None:
        self._ignored = (
            "asyncio_",
            *threads,
        )  # those of the event loop's own executor live as long as it does
        self._tasks = asyncio.all_tasks()
        self._threads = set(threading.enumerate())
        self._sockets = {inode for inode, _ in _sockets()}

    async def found(self, server: tuple[str, int | None] | None) -> list[str]:
        """What was left behind, each in a few words. `server`: host (or folder) and port of the
        database, if used.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        while True:
            left = self._now(server)
            if not left or loop.time() > until:
                return left
            await asyncio.sleep(0.02)

    def _now(self, server: tuple[str, int | None] | None) -> list[str]:
        tasks = asyncio.all_tasks() - self._tasks - {asyncio.current_task()}
        threads = set(threading.enumerate()) - self._threads
        connections = [
            peer
            for inode, peer in _sockets()
            if inode not in self._sockets and server and _leads_to(peer, server)
        ]

        return [
            *sorted(
                f"the task {task.get_name()!r} ({_coroutine(task)}) still runs" for task in tasks
            ),
            *sorted(
                f"the thread {thread.name!r} still runs"
                for thread in threads
                if not thread.name.startswith(self._ignored)
            ),
            *(
                ["connections to the database are still open: " + str(len(connections))]
                if connections
                else []
            ),
        ]


def _coroutine(task: "asyncio.Task[object]") -> str:
    coroutine = task.get_coro()
    return getattr(coroutine, "__qualname__", type(coroutine).__name__)


def _sockets() -> Iterator[tuple[int, object]]:
    """The open sockets of this process: a number that no other has, and where each leads."""
    folder = "/dev/fd"
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        try:
            about = os.fstat(int(name))
            if stat.S_ISSOCK(about.st_mode):
                with socket.socket(fileno=os.dup(int(name))) as found:
                    yield about.st_ino, found.getpeername()
        except OSError:  # closed meanwhile, or leads nowhere
            continue


def _leads_to(peer: object, server: tuple[str, int | None]) -> bool:
    host, port = server
    if isinstance(peer, tuple):
        return port is not None and peer[1] == port
    return port is None and os.fsdecode(str(peer)).startswith(host)
