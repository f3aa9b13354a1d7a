"""A primary whose commits wait for a standby that may fall silent: an id is returned for nothing that
the standby has not got.
"""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from soniq import DatabaseUnavailable, Soniq
from soniq_embedded import EmbeddedServer
from soniq_embedded.account import let_through, make_account
from soniq_embedded.binaries import run
from tests.support.waiting import eventually

COMMAND = 2.0
"""Seconds that a statement of these apps may take."""
LIMIT = 60.0


@dataclass
class Pair:
    """A primary and its standby, as URLs, and the standby's process that receives."""

    primary: EmbeddedServer
    primary_url: str
    standby: "Standby"
    receiver: int

    def crash(self) -> None:
        """End the primary without its goodbye; what the standby has not received is lost."""
        Server(self.primary.folder / "pgdata").control("--mode=immediate", "stop")
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.receiver, signal.SIGTERM)
            os.kill(self.receiver, signal.SIGCONT)

    def silence(self) -> None:
        """Have the standby receive nothing, and not say so."""
        os.kill(self.receiver, signal.SIGSTOP)

    def speak(self) -> None:
        """Have it go on."""
        os.kill(self.receiver, signal.SIGCONT)


class Server:
    """A server by its data, for PostgreSQL's own programs."""

    def __init__(self, data: Path) -> None:
        self._account = make_account()
        self._data = data

    def control(self, *words: str) -> None:
        """Call `pg_ctl`, and wait until it is done."""
        self.run("pg_ctl", f"--pgdata={self._data}", "--wait", *words)

    def run(self, program: str, *words: str) -> None:
        """Run a program as the server's account; it must end well."""
        with tempfile.TemporaryFile() as output:
            code = run(program, words, account=self._account, output=output, timeout=LIMIT)
            output.seek(0)
            assert code == 0, output.read().decode(errors="replace")


class Standby(Server):
    """A copy of a running server that follows it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "pgdata")
        self._folder = folder
        let_through(self._account, self._data)
        if not self._account.is_own:
            os.chown(folder, self._account.uid, self._account.gid)
        self.url = f"postgresql://postgres:@/postgres?host={folder}&port=5432"

    def copy(self, primary: str) -> None:
        """Make the copy. `primary` is the folder of the other one's socket."""
        self.run(
            "pg_basebackup", f"--pgdata={self._data}", "--checkpoint=fast",
            "--write-recovery-conf", f"--host={primary}", "--port=5432", "--username=postgres",
        )  # fmt: skip

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self._folder}"
        self.control(f"--options={options}", "start")

    def promote(self) -> None:
        self.control("promote")

    def stop(self) -> None:
        self.control("--mode=immediate", "stop")


@pytest.fixture
def folders() -> Iterator[tuple[Path, Path]]:
    with (
        tempfile.TemporaryDirectory(prefix="soniq-primary-") as one,
        tempfile.TemporaryDirectory(prefix="soniq-standby-") as two,
    ):
        yield Path(one), Path(two)


@pytest.fixture
async def pair(folders: tuple[Path, Path]) -> AsyncIterator[Pair]:
    """A primary that commits once its standby has received."""
    standby = Standby(folders[1])
    with EmbeddedServer(folders[0]) as primary:
        url = primary.start()
        connection = await asyncpg.connect(url)
        sockets = await connection.fetchval("show unix_socket_directories")
        await asyncio.to_thread(standby.copy, sockets)
        await asyncio.to_thread(standby.start)
        follower = await asyncpg.connect(standby.url)
        receiver = await eventually(
            lambda: follower.fetchval("select pid from pg_stat_wal_receiver"), LIMIT
        )
        await connection.execute("alter system set synchronous_standby_names = '*'")
        await connection.execute("select pg_reload_conf()")
        state = "select sync_state = 'sync' from pg_stat_replication"
        await eventually(lambda: connection.fetchval(state), LIMIT)
        await follower.close()
        await connection.close()
        yield Pair(primary, url, standby, receiver)
        with contextlib.suppress(ProcessLookupError):
            os.kill(receiver, signal.SIGCONT)
        await asyncio.to_thread(standby.stop)


async def ids_after_failover(pair: Pair) -> list[str]:
    """Crash the primary, promote the standby, and read which jobs it has, alive or finished."""
    await asyncio.to_thread(pair.crash)
    await asyncio.to_thread(pair.standby.promote)
    connection = await asyncpg.connect(pair.standby.url)
    rows = await connection.fetch("select id from soniq.job union all select id from soniq.history")
    await connection.close()
    return [str(row["id"]) for row in rows]


def app_on(url: str) -> Soniq:
    app = Soniq(url, discover=False, command_timeout=COMMAND, poll_interval=0.1, lease=3)
    app.job(name="nothing")(_nothing)
    return app


async def test_no_id_is_returned_for_what_the_standby_has_not_got(pair: Pair) -> None:
    async with app_on(pair.primary_url) as app:
        told = [await app.enqueue("nothing", n=1), await app.enqueue("nothing", n=2, unique=True)]
        pair.silence()
        for options in ({}, {"unique": True}):
            with pytest.raises(DatabaseUnavailable):
                await app.enqueue("nothing", n=3, **options)
        with pytest.raises(DatabaseUnavailable):
            await app.enqueue_many("nothing", [{"n": n} for n in range(50)])
        written = asyncio.create_task(app.enqueue("nothing", n=4))
        keyed = asyncio.create_task(app.enqueue("nothing", n=5, unique=True))
        await asyncio.sleep(COMMAND * 0.8)  # each is at its second try, which waits, too
        assert not written.done()
        assert not keyed.done()
        pair.speak()
        told += [await written, await keyed]
    there = await ids_after_failover(pair)
    assert set(map(str, told)) <= set(there)
    assert len(there) == len(set(there))


async def test_what_was_told_is_there_after_a_failover_whatever_the_standby_did(pair: Pair) -> None:
    told: list[str] = []
    over = False

    async def enqueue(app: Soniq, n: int) -> None:
        while not over:
            n += 1
            with contextlib.suppress(DatabaseUnavailable):
                told.append(str(await app.enqueue("nothing", n=n, unique=n % 2 == 0)))

    async with app_on(pair.primary_url) as app:
        await app.start()
        tasks = [asyncio.create_task(enqueue(app, 1_000_000 * n)) for n in range(8)]
        for silent in (0.3, 1.5, 3.0, 0.8):
            await asyncio.sleep(0.5)
            pair.silence()
            await asyncio.sleep(silent)
            pair.speak()
        await asyncio.sleep(0.5)
        pair.silence()
        await asyncio.sleep(COMMAND * 1.5)
        over = True
        await asyncio.gather(*tasks)
    connection = await asyncpg.connect(pair.primary_url)
    kept = await connection.fetchval("select count(*) from soniq.job")
    await connection.close()
    there = await ids_after_failover(pair)
    assert len(told) > 100
    assert set(told) <= set(there)
    assert kept > len(told)  # some were committed by the primary alone, and no id was told


async def _nothing(n: int) -> None: ...
