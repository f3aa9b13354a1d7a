"""Signals where a worker is not alone in its process: the handlers of others are called, too."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType

import pytest

from soniq import Soniq
from soniq.worker import interrupts
from soniq.worker.interrupts import NUMBERS, listen, stop_on_signals
from tests.conftest import MakeApp
from tests.support.processes import signal_self
from tests.support.waiting import LIMIT, in_time

Put = Callable[[signal.Signals, Callable[[], None]], None]

both = pytest.mark.parametrize("number", NUMBERS)


@pytest.fixture(autouse=True)
def _as_it_was() -> "object":
    before = {number: signal.getsignal(number) for number in NUMBERS}
    stops = list(interrupts._stops)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    assert interrupts._stops == stops, "a worker of this test still listens for signals"


@asynccontextmanager
async def a_worker(app: Soniq, number: signal.Signals) -> "AsyncIterator[asyncio.Task[int]]":
    """A worker that runs, and has put its handlers in."""
    before = signal.getsignal(number)
    await app.start()
    worker = asyncio.create_task(app.run_worker())
    while signal.getsignal(number) is before:
        await asyncio.sleep(0.01)
    yield worker
    await in_time(worker)


def in_the_loop(number: signal.Signals, call: Callable[[], None]) -> None:
    asyncio.get_running_loop().add_signal_handler(number, call)


def plainly(number: signal.Signals, call: Callable[[], None]) -> None:
    signal.signal(number, lambda *_: call())


@both
@pytest.mark.parametrize("put", [in_the_loop, plainly])
async def test_a_handler_that_was_there_before_is_called_too(
    app: Soniq, number: signal.Signals, put: Put
) -> None:
    told = asyncio.Event()
    put(number, told.set)
    async with a_worker(app, number):
        signal_self(number)
        await in_time(told.wait())


@both
@pytest.mark.parametrize("put", [in_the_loop, plainly])
async def test_a_handler_that_comes_later_is_called_and_the_worker_ends(
    app: Soniq, number: signal.Signals, put: Put
) -> None:
    told = asyncio.Event()
    async with a_worker(app, number):
        ours = signal.getsignal(number)
        put(number, told.set)
        while signal.getsignal(number) is not ours:
            await asyncio.sleep(0.01)
        signal_self(number)
        await in_time(told.wait())


@both
async def test_one_signal_ends_the_workers_of_two_apps(
    make_app: MakeApp, number: signal.Signals
) -> None:
    told = asyncio.Event()
    plainly(number, told.set)
    async with a_worker(make_app(), number) as one:
        other = make_app()
        await other.start()
        two = asyncio.create_task(other.run_worker())
        while len(interrupts._stops) < 2:
            await asyncio.sleep(0.01)

        signal_self(number)
        await in_time(asyncio.wait([one, two]))
        assert told.is_set()
    assert two.result() == 0


async def test_without_signals_none_are_listened_for_and_the_worker_goes_on(app: Soniq) -> None:
    told: list[int] = []
    for number in NUMBERS:
        plainly(number, lambda number=number: told.append(number))  # type: ignore[misc]
    before = [signal.getsignal(number) for number in NUMBERS]

    @app.job()
    async def one() -> str:
        return "done"

    await app.start()
    worker = asyncio.create_task(app.run_worker(signals=False))
    assert await app.wait_for(await app.enqueue(one), LIMIT) == "done"
    assert [signal.getsignal(number) for number in NUMBERS] == before
    for number in NUMBERS:
        signal_self(number)
    assert await app.wait_for(await app.enqueue(one), LIMIT) == "done"
    assert told == list(NUMBERS)
    app.stop_workers()
    assert await in_time(worker) == 2


def test_without_signals_a_worker_that_a_thread_waits_for_listens_for_none_either(
    app: Soniq,
) -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    seen: list[object] = []

    @app.job()
    async def look() -> None:
        seen.extend(signal.getsignal(number) for number in NUMBERS)
        app.stop_workers()

    app.sync.enqueue(look)
    assert app.sync.run_worker(signals=False) == 1
    app.sync.close()
    assert seen == before


def wrapped(number: int, call: Callable[[], None]) -> None:
    """Put a handler in that calls the one it found, as many do."""
    found = signal.getsignal(number)

    def handler(heard: int, frame: FrameType | None) -> None:
        call()
        if callable(found):
            found(heard, frame)

    signal.signal(number, handler)


async def test_handlers_that_call_the_ones_they_found_are_each_called_once() -> None:
    called: list[str] = []
    stopped = asyncio.Event()
    plainly(signal.SIGTERM, lambda: called.append("first"))

    def stop() -> None:
        called.append("stop")
        stopped.set()

    release = stop_on_signals(stop)
    ours = signal.getsignal(signal.SIGTERM)
    wrapped(signal.SIGTERM, lambda: called.append("later"))
    later = signal.getsignal(signal.SIGTERM)
    while signal.getsignal(signal.SIGTERM) is not ours:
        await asyncio.sleep(0.01)
    signal_self(signal.SIGTERM)
    await in_time(stopped.wait())
    release()
    assert sorted(called) == ["first", "later", "stop"]
    assert signal.getsignal(signal.SIGTERM) is later
    signal_self(signal.SIGTERM)
    assert sorted(called) == ["first", "first", "later", "later", "stop"]


async def test_what_somebody_saved_and_puts_back_passes_signals_on() -> None:
    called: list[str] = []
    plainly(signal.SIGTERM, lambda: called.append("first"))
    end = listen()
    ours = signal.signal(signal.SIGTERM, lambda *_: called.append("server"))
    end()
    signal.signal(signal.SIGTERM, ours)
    signal_self(signal.SIGTERM)
    assert called == ["first"]


IN_A_PROGRAM = """
import asyncio, os, signal, sys, threading, time
from soniq import Soniq

app = Soniq(discover=False)

def listens():
    return getattr(signal.getsignal(signal.SIGINT), "__module__", "").startswith("soniq")

def interrupt_once(ready):
    def wait():
        while not ready():
            time.sleep(0.01)
        time.sleep(1.0)  # all connections are made: the driver does not survive it amid one
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait).start()
"""

PROGRAMS = {
    "a loop that runs on, as in a notebook": """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(app.start())
        worker = loop.create_task(app.run_worker(signals=False))
        interrupt_once(lambda: app.working)
        try:
            loop.run_forever()
        except KeyboardInterrupt:  # as the cell that runs is interrupted
            print("interrupted", worker.done())
        app.stop_workers()
        loop.run_until_complete(worker)
        loop.run_until_complete(app.close())
    """,
    "the main task is the worker": """
        interrupt_once(listens)
        print("interrupted", bool(asyncio.run(app.run_worker())))
    """,
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=list(PROGRAMS))
def test_ctrl_c_does_in_a_program_what_the_program_is_used_to(
    program: str, tmp_path: Path, database_url: str, schema: str
) -> None:
    file = tmp_path / "program.py"
    file.write_text(IN_A_PROGRAM + textwrap.dedent(program))
    done = subprocess.run(
        [sys.executable, str(file)], capture_output=True, text=True, timeout=LIMIT,
        env={**os.environ, "SONIQ_DATABASE_URL": database_url, "SONIQ_SCHEMA": schema},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "interrupted False"


def test_workers_can_be_told_to_stop_while_their_loop_stands_still(
    database_url: str, schema: str
) -> None:
    app = Soniq(database_url=database_url, schema=schema, discover=False, grace=60)
    begun = asyncio.Event()

    @app.job(name="waits", timeout=60)
    async def waits() -> None:
        begun.set()
        await asyncio.sleep(60)

    async def begin() -> "asyncio.Task[int]":
        await app.enqueue(waits)
        worker = asyncio.create_task(app.run_worker(signals=False))
        await in_time(begun.wait())
        return worker

    loop = asyncio.new_event_loop()
    worker = loop.run_until_complete(begin())
    app.stop_workers()
    loop.run_until_complete(asyncio.sleep(0.1))  # the grace time has begun
    app.stop_workers(now=True)
    assert loop.run_until_complete(in_time(worker)) == 1
    loop.run_until_complete(app.close())
    loop.close()


def test_outside_the_main_thread_nothing_is_put_in() -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    thread = threading.Thread(target=lambda: listen()())
    thread.start()
    thread.join(LIMIT)
    assert [signal.getsignal(number) for number in NUMBERS] == before
