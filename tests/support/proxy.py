"""A TCP proxy in front of a real server, whose network can be made to fail in the ways in which
networks do.

    with Proxy.to(database_url) as proxy:
        app = Soniq(proxy.url(database_url))
        ...
        proxy.lose()    # half-open: connections go silent, and are not closed; new ones work
        proxy.lose_answers(b"...")  # those to what is sent next with this in it, on its connection
        proxy.darken()  # nothing passes, also on new connections; what was sent arrives with `restore`
        proxy.cut()     # the connections that there are end
        proxy.refuse()  # they end, and new ones do at once
        proxy.delay(0.5)
        proxy.cut_at_random(0.02)
        proxy.restore()

With a certificate, `Proxy.to(database_url, tls)`, it speaks TLS to clients, as a server does that has
it on.

It runs in a thread of its own, so that a test which blocks its event loop does not hold it up. It
takes PostgreSQL's sockets of files, too, and clients reach those over TCP then.
"""

import asyncio
import contextlib
import random
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit

CHUNK = 65_536
ASKS_FOR_TLS = struct.pack("!ll", 8, 80877103)
"""What a client of PostgreSQL's sends first where it would like TLS."""
CLOSING = 1.0
"""Seconds in which what is left to be sent is, when one side has ended."""
LIMIT = 10.0
"""Seconds in which the proxy's own thread answers."""


class Proxy:
    """`server`: host and port, or the path of a socket. Use it as a context manager, or `start` and
    `close` it.
    """

    def __init__(self, server: tuple[str, int] | str, tls: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._listener: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusing = False
        self.weather = _Weather()
        self.port = 0
        self.made = 0
        """How many connections have been made through it."""

    @classmethod
    def to(cls, url: str, tls: ssl.SSLContext | None = None) -> "Proxy":
        """A proxy to the server that a URL of PostgreSQL's leads to."""
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        host, port = (
            query.get("host", parts.hostname or "localhost"),
            int(query.get("port", parts.port or 5432)),
        )
        return cls(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port), tls)

    def url(self, url: str) -> str:
        """The same URL through the proxy."""
        parts = urlsplit(url)
        query = {
            name: value for name, value in parse_qsl(parts.query) if name not in ("host", "port")
        }
        account, at, _ = parts.netloc.rpartition("@")
        return parts._replace(
            netloc=f"{account}{at}127.0.0.1:{self.port}", query=urlencode(query)
        ).geturl()

    # --- the network -----------------------------------------------------------------------------

    @property
    def open(self) -> int:
        """How many connections go through it now, the lost ones included."""
        return len(self._links)

    def lose(self) -> None:
        """Swallow all that is sent on the connections that there are, both ways and for ever, and
        close none.
        """
        self._do(self._lose)

    def lose_answers(self, to: bytes) -> None:
        """Deliver what is sent next with these bytes in it, and swallow all that the server sends on
        that connection from then on.
        """
        self._do(lambda: setattr(self.weather, "unanswered", to))

    def darken(self) -> None:
        """Let nothing pass, also on new connections, until `restore`; what is sent meanwhile
        arrives then.
        """
        self._do(lambda: self.weather.passing.clear())

    def cut(self) -> None:
        """End the connections that there are."""
        self._do(self._cut)

    def refuse(self) -> None:
        """End the connections that there are, and each new one at once, as where nothing
        listens.
        """

        def refuse() -> None:
            self._refusing = True
            self._cut()

        self._do(refuse)

    def delay(self, seconds: float) -> None:
        """Deliver all that is sent so much later, in each direction."""
        self._do(lambda: setattr(self.weather, "delay", seconds))

    def cut_at_random(self, chance: float) -> None:
        """End a connection with this probability each time something is sent on it, before it is
        delivered.
        """
        self._do(lambda: setattr(self.weather, "chance", chance))

    def restore(self) -> None:
        """Let all pass at once again. Connections that were lost stay so."""

        def restore() -> None:
            self._refusing = False
            self.weather.delay = self.weather.chance = 0.0
            self.weather.unanswered = b""
            self.weather.passing.set()

        self._do(restore)

    # --- life ------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen on a free port."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(LIMIT)
        return self

    def close(self) -> None:
        """End all connections, and the thread."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(LIMIT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- inside, in the proxy's thread -----------------------------------------------------------

    def _do(self, change: Callable[[], object]) -> None:
        """Change something in the proxy's thread, and wait until it is changed."""
        done = threading.Event()

        def do() -> None:
            change()
            done.set()

        self._loop.call_soon_threadsafe(do)
        assert done.wait(LIMIT), "the proxy's thread does not answer"

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        assert self._listener is not None
        for listening in self._listener.sockets:
            self._loop.remove_reader(listening.fileno())
        # Where it is closed before the loop took up a client that had just come, the socket leaks
        for _ in range(2):
            await asyncio.sleep(0)
        self._listener.close()
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            self._cut()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for client in self._clients:  # one that had just come, and no task began with
            client.transport.abort()
        for _ in range(3):
            await asyncio.sleep(0.01)

    def _lose(self) -> None:
        for link in self._links:
            link.lose()

    def _cut(self) -> None:
        for link in list(self._links):
            link.cut()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        task = self._loop.create_task(self._served(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._connected(reader, writer)
        finally:
            self._clients.discard(writer)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            if self._tls is not None:
                assert await reader.readexactly(len(ASKS_FOR_TLS)) == ASKS_FOR_TLS
                writer.write(b"S")
                await writer.start_tls(self._tls)
            if isinstance(self._server, str):
                server = await asyncio.open_unix_connection(self._server)
            else:
                server = await asyncio.open_connection(*self._server)
        except (
            OSError,
            asyncio.CancelledError,
            asyncio.IncompleteReadError,
        ):  # it is not there: the client is told, as without a proxy
            writer.transport.abort()
            return
        self.made += 1
        link = _Link(self.weather, (reader, writer), server)
        self._links.add(link)
        try:
            await link.run()
        except (
            asyncio.CancelledError
        ):  # at the end; asyncio's streams of Python 3.11 would call it an error
            pass
        finally:
            self._links.discard(link)


class _Weather:
    """What befalls all connections."""

    def __init__(self) -> None:
        self.passing = asyncio.Event()
        self.passing.set()
        self.delay = self.chance = 0.0
        self.unanswered = b""


class _Link:
    """One connection of a client, and that to the server which belongs to it."""

    def __init__(
        self,
        weather: _Weather,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._weather = weather
        self._client = client
        self._server = server
        self._lost = self._unanswered = False
        self._gone = asyncio.Event()

    def lose(self) -> None:
        self._lost = True

    def cut(self) -> None:
        for _, writer in (self._client, self._server):
            writer.transport.abort()
        self._gone.set()

    async def run(self) -> None:
        """Pass on what comes until one side ends, and then end the other; who is lost learns of
        nothing.
        """
        for _, writer in (self._client, self._server):
            if (own := writer.get_extra_info("socket")).family != socket.AF_UNIX:
                own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = [
            asyncio.create_task(self._pass_on(self._client[0], self._server[1])),
            asyncio.create_task(self._pass_on(self._server[0], self._client[1])),
            asyncio.create_task(self._gone.wait()),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if self._lost:
                await self._gone.wait()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for _, writer in (self._client, self._server):
                writer.close()
            try:
                async with asyncio.timeout(CLOSING):
                    for _, writer in (self._client, self._server):
                        await writer.wait_closed()
            except (OSError, asyncio.CancelledError):
                self.cut()

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        coming: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivering = asyncio.create_task(self._deliver(coming, target))
        try:
            with contextlib.suppress(OSError):
                while chunk := await source.read(CHUNK):
                    if self._weather.chance and random.random() < self._weather.chance:
                        return self.cut()
                    if (words := self._weather.unanswered) and words in chunk:
                        self._unanswered, self._weather.unanswered = True, b""
                    coming.put_nowait(
                        (asyncio.get_running_loop().time() + self._weather.delay, chunk)
                    )
            coming.put_nowait((0.0, b""))
            await delivering
        finally:
            delivering.cancel()
        return None

    async def _deliver(
        self, coming: "asyncio.Queue[tuple[float, bytes]]", target: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            at, chunk = await coming.get()
            await asyncio.sleep(max(0.0, at - loop.time()))
            await self._weather.passing.wait()
            if self._lost or (self._unanswered and target is self._client[1]):
                continue
            if not chunk:
                return
            with contextlib.suppress(OSError):
                target.write(chunk)
                await target.drain()
