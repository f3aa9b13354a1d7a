"""SIGTERM and SIGINT belong to the process: all its workers share them."""

import asyncio
import signal

import pytest

from soniq.worker import interrupts
from soniq.worker.interrupts import NUMBERS, stop_on_signals
from tests.support.processes import signal_self


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
    signal_self(signal.SIGTERM)
    async with asyncio.timeout(10):
        await came.wait()
    assert stopped == ["second"]
    second()
    assert [signal.getsignal(number) for number in NUMBERS] == before


def test_a_worker_whose_loop_was_closed_amid_its_life_keeps_no_signal_from_anybody() -> None:
    stopped: list[int] = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    async def begin() -> None:
        stop_on_signals(lambda: stopped.append(1))

    async def begin_and_end() -> None:
        stop_on_signals(lambda: stopped.append(2))()

    try:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(begin())
        loop.close()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(begin_and_end())
        loop.close()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert stopped == []
    finally:
        signal.signal(signal.SIGINT, before)


async def test_a_signal_stops_every_worker() -> None:
    stopped: list[int] = []
    came = asyncio.Event()
    releases = [stop_on_signals(lambda n=n: stopped.append(n)) for n in range(2)]  # type: ignore[misc]
    releases.append(stop_on_signals(came.set))
    signal_self(signal.SIGINT)
    async with asyncio.timeout(10):
        await came.wait()
    for release in releases:
        release()
    assert stopped == [0, 1]


async def test_workers_beside_servers_that_start_later_do_not_gather_their_handlers() -> None:
    before = signal.getsignal(signal.SIGTERM)
    known = interrupts._others[signal.SIGTERM]
    heard: list[int] = []
    try:
        for life in range(30):
            stop = stop_on_signals(lambda: None)
            signal.signal(signal.SIGTERM, lambda *_, life=life: heard.append(life))
            stop()
        assert len(known) <= 11, known
        assert known[0] == before

        stop = stop_on_signals(lambda: None)
        signal_self(signal.SIGTERM)
        stop()
        assert heard == [29]
    finally:
        known.clear()
        signal.signal(signal.SIGTERM, before)
