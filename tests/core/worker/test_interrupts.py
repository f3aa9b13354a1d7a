"""SIGTERM and SIGINT belong to the process: all its workers share them."""

import asyncio
import os
import signal

from soniq.worker.interrupts import NUMBERS, stop_on_signals


async def test_the_old_handlers_come_back_with_the_last_worker_whichever_that_is() -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    stopped: list[str] = []
    came = asyncio.Event()

    def stop_second() -> None:
        stopped.append("second")
        came.set()

    first = stop_on_signals(lambda: stopped.append("first"))
    second = stop_on_signals(stop_second)
    first()
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(10):
        await came.wait()
    assert stopped == ["second"]
    second()
    assert [signal.getsignal(number) for number in NUMBERS] == before


async def test_a_signal_stops_every_worker() -> None:
    stopped: list[int] = []
    came = asyncio.Event()
    releases = [stop_on_signals(lambda n=n: stopped.append(n)) for n in range(2)]  # type: ignore[misc]
    releases.append(stop_on_signals(came.set))
    os.kill(os.getpid(), signal.SIGINT)
    async with asyncio.timeout(10):
        await came.wait()
    for release in releases:
        release()
    assert stopped == [0, 1]
