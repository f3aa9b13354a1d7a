"""Worker processes, and signals."""

import asyncio
import os
import signal
import time
from pathlib import Path

from tests.support.forks import Forks
from tests.support.waiting import LIMIT

PYTEST = ("pytest", "-q", "-W", "error", "-p", "no:hypothesispytest")
"""pytest in a process of its own, without the plugin whose imports take half a second."""


def signal_self(number: signal.Signals) -> None:
    """Send a signal to this process, which must have a handler of its own for it: without one the
    signal would end the whole run of the tests.
    """
    assert signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler)
    os.kill(os.getpid(), number)


class Process:
    """A worker in a process of its own, made from a script; it says on its output what happens."""

    def __init__(self, forks: Forks, script: Path, environment: dict[str, str]) -> None:
        self.output = script.with_suffix(f".{time.monotonic_ns()}.log")
        with self.output.open("w") as output:
            self.fork = forks.start(
                [str(script)], cwd=Path.cwd(), env=os.environ | environment, output=(output, output)
            )

    def said(self) -> str:
        return self.output.read_text()

    async def says(self, words: str, limit: float = LIMIT) -> None:
        """Wait until it has said `words`."""
        ends = time.monotonic() + limit
        while words not in self.said():
            assert time.monotonic() < ends, f"it did not say {words!r} but:\n{self.said()}"
            assert self.fork.poll() is None or words in self.said(), (
                f"it ended, and said:\n{self.said()}"
            )
            await asyncio.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        self.fork.send_signal(number)

    async def ended(self, limit: float = LIMIT) -> int:
        """Wait for its end; the exit code."""
        return await asyncio.to_thread(self.fork.wait, limit)

    def close(self) -> None:
        if self.fork.poll() is None:
            self.fork.kill()
        self.fork.wait(10)
