"""A measurement by itself: on an empty database, in processes of its own."""

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import asyncpg

from soniq import Soniq
from tests.support.urls import of_database

LIMIT = 1_800
"""Seconds that one measurement may take."""
START, END = 60.0, 60.0
"""Seconds that worker processes have to register, and to end."""

SPAWN = get_context("spawn")
T = TypeVar("T")


@contextmanager
def empty_database(url: str, name: str) -> Iterator[str]:
    """An empty database, after a checkpoint: what the one before wrote is not paid for here."""
    drop = f"drop database if exists {name} with (force)"
    asyncio.run(execute(url, drop, f"create database {name}", "checkpoint"))
    try:
        yield of_database(url, name)
    finally:
        asyncio.run(execute(url, drop))


async def execute(url: str, *statements: str) -> None:
    """Carry out statements, each in a transaction of its own."""
    connection = await asyncpg.connect(url)
    for each in statements:
        await connection.execute(each)
    await connection.close()


def apart(measure: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """What a function returns that another process runs. Raises RuntimeError where it fails."""
    receiver, sender = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=_send, args=(sender, measure, arguments))
    process.start()
    sender.close()
    try:
        if not receiver.poll(LIMIT):
            raise RuntimeError(f"a measurement took longer than {LIMIT} s")
        found: T = receiver.recv()
    except EOFError:
        raise RuntimeError("the process of a measurement has failed") from None
    finally:
        if sys.exc_info()[0] is not None:
            process.terminate()
        end([process])
    return found


def _send(
    sender: "Connection[Any, Any]",
    measure: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    exit_on_sigterm()
    sender.send(asyncio.run(measure(*arguments)))


def exit_on_sigterm() -> None:
    """Have SIGTERM end all that this process has started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


@contextmanager
def workers(make_app: Callable[[str], Soniq], url: str, count: int) -> Iterator[list[int]]:
    """Worker processes, from when they have registered; their ids. They end as with SIGTERM."""
    processes = [SPAWN.Process(target=_work, args=(make_app, url)) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        asyncio.run(_registered(make_app(url), count))
        yield [process.pid for process in processes if process.pid is not None]
    finally:
        for process in processes:
            process.terminate()
        end(processes)


def _work(make_app: Callable[[str], Soniq], url: str) -> None:
    async def work() -> None:
        async with make_app(url) as app:
            await app.run_worker()

    asyncio.run(work())


async def _registered(app: Soniq, count: int) -> None:
    schema = app.settings.schema
    ends = time.monotonic() + START
    async with app:
        while True:
            async with app.connection() as connection:
                there = await connection.fetchval(f"select count(*) from {schema}.worker")
            if there >= count:
                return
            assert time.monotonic() < ends, "the workers do not start"
            await asyncio.sleep(0.05)


def end(processes: Sequence[BaseProcess]) -> None:
    """Wait until they have ended, and end those that do not."""
    for process in processes:
        process.join(END)
        if process.is_alive():
            process.kill()
            process.join()
