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

        _bounded(self._hand_back, REQUEUE_TIMEOUT)
        if not self._at_exit:
            _bounded(lambda _: atexit._run_exitfuncs(), EXIT_TIMEOUT)
        _bounded(_flush, 1.0)
        os._exit(0 if failure is None else Failure.exit_code)


LIBRARIES = (
    *{sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")},
    str(Path(__file__).parent.parent),
    "<frozen",
)
"""Where the code is that is not the app's."""


def _bounded(call: Callable[[float], object], seconds: float) -> None:
    """Call a function that may hang, with its limit in seconds; its thread is left behind then."""
    thread = threading.Thread(target=call, args=(seconds,), daemon=True)
    thread.start()
    thread.join(seconds + 0.5)


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
