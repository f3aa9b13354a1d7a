"""`soniq worker --reload`: for development, a worker that starts again when a file changes."""

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from soniq.cli.output import Failure
from soniq.cli.supervise import SUPERVISOR_VARIABLE

log = logging.getLogger("soniq.worker")

RELOAD_GRACE = 3.0
"""Seconds that running attempts have to end when a file has changed; then they run again."""
KILL_AFTER = 15.0
"""Seconds after which a worker that does not end is killed, and its jobs are rescued."""
CHECK_INTERVAL_MS = 250
"""Milliseconds between two looks whether the worker has ended by itself."""


def run_reloading() -> int:
    """Run the worker of this command line, and a fresh one when a Python file changes.

    A worker that ends by itself, as where the app cannot be imported, is started again with the
    next change. SIGTERM and SIGINT end it: the first lets running attempts end, the second does
    not. The exit code.
    """
    try:
        from watchfiles import PythonFilter, watch
    except ImportError as error:
        raise Failure(
            "--reload needs the package watchfiles: pip install 'soniq-core[reload]'"
        ) from error

    stop, signals = threading.Event(), [0]

    def heard(number: int, frame: object) -> None:
        signals[0] += 1
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, heard)

    worker: subprocess.Popen[bytes] | None = _start()
    changes = watch(
        Path.cwd(),
        watch_filter=PythonFilter(),
        stop_event=stop,
        rust_timeout=CHECK_INTERVAL_MS,
        yield_on_timeout=True,
        raise_interrupt=False,
    )
    for changed in changes:
        if changed:
            names = sorted({os.path.relpath(path) for _, path in changed})
            log.info("changed: %s; restarting the worker", ", ".join(names[:5]))
            if worker is not None:
                _end(worker, RELOAD_GRACE)
            worker = _start()
        elif worker is not None and worker.poll() is not None:
            log.warning(
                "the worker ended (exit code %d); the next change restarts it",
                worker.returncode,
            )
            worker = None

    if worker is not None:
        _stop(worker, signals)
    return 0


def _start() -> "subprocess.Popen[bytes]":
    arguments = [sys.executable, "-P", "-m", "soniq", *sys.argv[1:]]
    environment = {**os.environ, SUPERVISOR_VARIABLE: str(os.getpid())}
    return subprocess.Popen(  # noqa: S603 (the command line that this process was given)
        arguments, env=environment, start_new_session=True
    )


def _end(worker: "subprocess.Popen[bytes]", patience: float) -> None:
    """End a worker: as a deploy does, and a few seconds later without the grace time."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGINT, KILL_AFTER)):
        worker.send_signal(number)
        try:
            worker.wait(seconds)
            return
        except subprocess.TimeoutExpired:
            continue
    worker.kill()
    worker.wait()


def _stop(worker: "subprocess.Popen[bytes]", signals: list[int]) -> None:
    """Let the worker end within its own grace time; a second signal ends that at once."""
    worker.send_signal(signal.SIGTERM)
    while worker.poll() is None:
        if signals[0] > 1:
            _end(worker, 0.0)
        else:
            threading.Event().wait(0.1)
