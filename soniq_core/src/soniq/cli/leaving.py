"""The end of a worker's process, which comes in time whatever a handler left: a thread, a task, a
loop that is blocked.

A thread of its own waits for that time. Signals set it, and so does the worker once it has stopped.
"""

import atexit
import logging
import math
import os
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

from soniq.cli.output import Failure
from soniq.errors import SoniqError

log = logging.getLogger("soniq.worker")

STOP_MARGIN = 10.0
"""Seconds that a worker has beyond its grace time; a supervisor that kills waits for longer."""
THREADS_TIMEOUT = 3.0
"""Seconds that threads and tasks have to end by themselves after the worker has stopped."""
EXIT_TIMEOUT = 5.0
"""Seconds that exit functions have, which send what is left: spans, events, log records."""
REQUEUE_TIMEOUT = 3.0
"""Seconds to hand jobs back from outside the event loop that stands still."""


class Leaving:
    """Ends the process at a time, unless it has ended by then.

    Any thread, and any signal handler, may set the time.
    """

    def __init__(self, grace: float, hand_back: Callable[[float], None]) -> None:
        self._grace = grace
        self._hand_back = hand_back
        self._heard = 0
        self._failure: Exception | None = None
        self._at_exit = False
        # Its put may interrupt itself, as in a signal handler
        self._times: SimpleQueue[float] = SimpleQueue()
        # Started now: where the process ends, Python 3.12 starts no thread any more
        self._helpers = [Helper() for _ in range(3)]
        atexit.register(self._exiting)
        threading.Thread(target=self._wait, name="soniq leaving", daemon=True).start()

    def heard(self) -> None:
        """A signal came: the first leaves attempts their grace time, the second none.

        The third ends the process at once.
        """
        self._heard += 1
        self.within({1: self._grace + STOP_MARGIN, 2: STOP_MARGIN}.get(self._heard, 0.0))

    def stopped(self, failure: Exception | None) -> None:
        """The worker has stopped, or failed: what is left has a moment, and the process ends."""
        self._failure = failure
        self.within(THREADS_TIMEOUT)

    def within(self, seconds: float) -> None:
        """Have the process end so many seconds from now at the latest."""
        self._times.put(time.monotonic() + seconds)

    def _exiting(self) -> None:
        """The first exit function: no thread is left that was waited for."""
        self._at_exit = True
        self.within(EXIT_TIMEOUT)

    def _wait(self) -> None:
        at = math.inf
        while True:
            patience = None if at == math.inf else max(0.0, at - time.monotonic())
            try:
                at = self._times.get(timeout=patience)
            except Empty:
                break

        failure = self._failure
        if failure is not None:
            known = isinstance(failure, SoniqError)
            log.error("%s", failure, exc_info=None if known else failure)
        left = _left()
        log.warning(
            "ending the process although these did not stop: %s",
            ", ".join(left) or "its exit functions",
        )

        hand_back, run_exit_functions, flush = self._helpers
        hand_back.call(self._hand_back, REQUEUE_TIMEOUT)
        if not self._at_exit:
            run_exit_functions.call(lambda _: atexit._run_exitfuncs(), EXIT_TIMEOUT)
        flush.call(_flush, 1.0)
        os._exit(0 if failure is None else Failure.exit_code)


LIBRARIES = (
    *{sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")},
    str(Path(__file__).parent.parent),
    "<frozen",
)
"""Where the code is that is not the app's."""


class Helper:
    """A thread for one call that may hang, and is left behind then."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[[float], object], float]] = SimpleQueue()
        self._done = threading.Event()
        threading.Thread(target=self._run, name="soniq leaving", daemon=True).start()

    def call(self, function: Callable[[float], object], seconds: float) -> None:
        """Call a function with its limit in seconds, and wait little longer."""
        self._calls.put((function, seconds))
        self._done.wait(seconds + 0.5)

    def _run(self) -> None:
        function, seconds = self._calls.get()
        try:
            function(seconds)
        finally:
            self._done.set()


def _flush(_: float) -> None:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _left() -> list[str]:
    """The threads that the process would wait for, each with its place in the app's code."""
    frames = sys._current_frames()
    found = []
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        while frame is not None and frame.f_code.co_filename.startswith(LIBRARIES):
            frame = frame.f_back

        code = frame and frame.f_code
        if frame is not None and code is not None:
            place = f" ({Path(code.co_filename).name} line {frame.f_lineno} in {code.co_name})"
        elif thread.daemon or thread is threading.main_thread():
            continue
        else:
            place = ""
        found.append(f"the thread {thread.name}{place}")
    return found
