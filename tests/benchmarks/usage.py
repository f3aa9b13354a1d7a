"""What work costs: CPU time of processes and of PostgreSQL, transactions, memory. Linux only, and
with a server on this machine.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil  # type: ignore[import-untyped]

from tests.support.urls import of_database

MEGABYTE = 1_048_576
REAPED = 0.3
"""Seconds after which the CPU of sessions that have ended is that of PostgreSQL's first process."""

Figures = dict[str, float]
"""What was measured, by name."""


def memory(field: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most so far."""
    found = re.search(
        rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE
    )
    assert found
    return int(found[1]) * 1024


@contextmanager
def measured(figures: Figures) -> Iterator[None]:
    """`seconds`, and `growth`: how far the peak rose above what was in use at the start, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before, began = memory("VmRSS"), time.monotonic()
    yield
    figures["seconds"] = time.monotonic() - began
    figures["growth"] = memory("VmHWM") - before


@asynccontextmanager
async def metered(
    url: str, figures: Figures, pids: Sequence[int] | None = None
) -> AsyncIterator[None]:
    """Add to figures what happens inside: `seconds`, `worker` and `server` (seconds of CPU of the
    processes, this one by default, and of all of PostgreSQL), `transactions` of the database, `wal`
    (bytes).
    """
    connection = await asyncpg.connect(of_database(url, "postgres"))  # counts for another database
    session = psutil.Process(await connection.fetchval("select pg_backend_pid()"))
    server, database = session.parent(), urlsplit(url).path.lstrip("/")

    async def read() -> Figures:
        return {
            "worker": time.process_time() if pids is None else sum(map(cpu, pids)),
            "server": server_cpu(server),
            "transactions": await connection.fetchval(
                "select xact_commit + xact_rollback from pg_stat_database where datname = $1",
                database,
            ),
            "wal": float(await connection.fetchval("select pg_current_wal_insert_lsn() - '0/0'")),
        }

    before, began = await read(), time.monotonic()
    yield
    seconds = time.monotonic() - began
    await asyncio.sleep(REAPED)
    after = await read()
    await connection.close()
    figures.update({name: after[name] - before[name] for name in after}, seconds=seconds)


async def settled(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> int:
    """How many jobs have been settled, up to a second ago, without a look at the tables."""
    await connection.execute("select pg_stat_clear_snapshot()")
    statement = (
        "select n_tup_del from pg_stat_user_tables where schemaname = $1 and relname = 'job'"
    )
    return int(await connection.fetchval(statement, schema) or 0)


def cpu(pid: int) -> float:
    """Seconds of CPU that the threads of a process have used, of those that have not ended."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in threads) / 1e9


def server_cpu(server: psutil.Process) -> float:
    """Seconds of CPU that PostgreSQL has used: its processes, and those that have ended."""
    ended = server.cpu_times()
    total = cpu(server.pid) + ended.children_user + ended.children_system
    for process in server.children(recursive=True):
        try:
            total += cpu(process.pid)
        except (FileNotFoundError, ProcessLookupError):  # has just ended
            continue
    return float(total)
