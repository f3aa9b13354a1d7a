"""`soniq worker --processes N`: a process that starts the workers, and others where they end."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from types import FrameType

log = logging.getLogger("soniq.worker")

SUPERVISOR_VARIABLE = "SONIQ_SUPERVISED"
"""In the environment of a supervised worker, which works by itself: its supervisor's process id."""

NUMBER_VARIABLE = "SONIQ_SUPERVISED_NUMBER"
"""In its environment, too: which of the supervisor's it is, from 1."""

FAST_FAILURE = 5.0
"""Seconds within which a process fails at once; the next one then waits, longer each time."""
LONGEST_PAUSE = 30.0
KILL_AFTER = 18.0
"""Seconds that workers have beyond their grace time, before they are killed."""


class _Place:
    """One of the N, the process in it, and when to start the next one."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: subprocess.Popen[bytes] | None = None
        self.started = self.start_at = 0.0
        self.pause = 0.5

    def start(self) -> None:
        self.started = time.monotonic()
        arguments = [sys.executable, "-P", "-m", "soniq", *sys.argv[1:]]
        environment = {
            **os.environ,
            SUPERVISOR_VARIABLE: str(os.getpid()),
            NUMBER_VARIABLE: str(self.number),
        }
        self.process = subprocess.Popen(  # noqa: S603 (the command line that this process was given)
            arguments, env=environment, start_new_session=True
        )
        log.info("worker process %d started", self.process.pid)

    def look(self) -> None:
        """Note whether the process has ended, and when the next one begins.

        That is now, or after a pause where the process failed at once.
        """
        if self.process is None or self.process.poll() is None:
            return

        code, pid, self.process = self.process.returncode, self.process.pid, None
        if code == 0 or time.monotonic() - self.started > FAST_FAILURE:
            self.pause = 0.5
            self.start_at = time.monotonic()
        else:
            self.start_at = time.monotonic() + self.pause
            self.pause = min(self.pause * 2, LONGEST_PAUSE)
        level = logging.INFO if code == 0 else logging.ERROR
        log.log(
            level,
            "worker process %d ended (%s); starting another in its place",
            pid,
            _described(code),
        )


def supervise(processes: int, grace: float) -> int:
    """Keep so many worker processes running until SIGTERM or SIGINT; the exit code.

    The first signal is passed on as SIGTERM and the workers stop as they do; a second one as
    SIGINT, because they may get SIGTERM from elsewhere, too (systemd sends it to all processes of a
    unit). What is left after `grace` and a few seconds is killed.
    """
    signals: list[int] = []

    def heard(number: int, _frame: FrameType | None) -> None:
        signals.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, heard)

    places = [_Place(number) for number in range(1, processes + 1)]
    while not signals:
        for place in places:
            place.look()
            if place.process is None and time.monotonic() >= place.start_at and not signals:
                place.start()
        time.sleep(0.1)
    return _stop([place.process for place in places if place.process is not None], signals, grace)


async def orphaned(supervisor: int) -> None:
    """Wait until the supervisor of this process is gone."""
    while os.getppid() == supervisor:  # noqa: ASYNC110 (nothing tells of it)
        await asyncio.sleep(1.0)
    log.error("the supervisor (pid %d) has ended; stopping", supervisor)


def _stop(running: list[subprocess.Popen[bytes]], signals: list[int], grace: float) -> int:
    log.info("stopping: %d worker processes have %g s to end", len(running), grace)
    passed_on, ends = 0, time.monotonic() + grace + KILL_AFTER
    while any(process.poll() is None for process in running):
        for _ in signals[passed_on:]:
            passed_on += 1
            for process in running:
                process.send_signal(signal.SIGTERM if passed_on == 1 else signal.SIGINT)
        if time.monotonic() > ends:
            log.error(
                "worker processes did not end in time, and are killed; their jobs are rescued"
            )
            for process in running:
                process.kill()
        time.sleep(0.05)

    # A process that begins, or ends, does not take these signals as a worker does
    ours = (signal.SIGTERM, signal.SIGINT)
    fine = {0, *(-number for number in ours), *(128 + number for number in ours)}
    return 0 if all(process.returncode in fine for process in running) else 1


def _described(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
