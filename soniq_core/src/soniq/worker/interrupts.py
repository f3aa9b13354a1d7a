"""SIGTERM and SIGINT: they stop every worker of the process. Signals are the process's, and so is
what is kept here.

The handlers that others put in (a web server, `loop.add_signal_handler`) are called, too: one
signal ends them all.
"""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

NUMBERS = (signal.SIGTERM, signal.SIGINT)

CHECK_INTERVAL = 1.0
"""Seconds between two looks whether another library has replaced our handlers."""

MOST_HANDLERS = 10
"""How many handlers of others are known at most: a server that has ended does not say so, and each
worker beside a new one would add one more.
"""

Handler = Any
"""What `signal.getsignal` returns: a function, one of the constants, or None for what is not
Python's.
"""

_stops: list["partial[None]"] = []
"""What a signal calls, each with the event loop of its worker as the first argument."""
_early: list[BaseException] = []
"""What was raised because of signals that came before a worker had begun."""
_listening: list[asyncio.AbstractEventLoop | None] = []
"""For whom our handlers are there: the event loops of workers, or None before there is one."""
_others: dict[int, list[Handler]] = {number: [] for number in NUMBERS}
"""The handlers behind ours, the last one put in last."""
_passed_on: dict[int, int] = dict.fromkeys(NUMBERS, 0)
"""How many of them are being called: one may call ours, which it found when it was put in."""
_heard_once: dict[int, bool] = {}


def stop_on_signals(
    stop: Callable[[], None], at_once: Callable[[], None] = lambda: None
) -> Callable[[], None]:
    """Call `stop` in this event loop at each SIGTERM and SIGINT, until the function that is
    returned is called.

    Outside the main thread, which is where Python has its signals, only those that the main thread
    listens for. `at_once` is called in the signal handler itself, also where the loop is blocked.
    """
    loop = asyncio.get_running_loop()
    stopping = partial(_tell, loop, stop, at_once)
    _stops.append(stopping)
    end = listen()
    looking: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal looking
        _stay_in_front()
        looking = loop.call_later(CHECK_INTERVAL, look)

    if threading.current_thread() is threading.main_thread():
        look()

    def release() -> None:
        if looking is not None:
            looking.cancel()
        end()
        if stopping in _stops:
            _stops.remove(stopping)

    return release


def listen() -> Callable[[], None]:
    """Have signals stop the workers, of whatever thread, until the function that is returned is
    called.

    The first puts the handlers in, and the last the old ones back, in whichever order they end.
    Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    _forget_those_whose_loop_is_closed()
    if not _listening:
        for number in NUMBERS:
            _put_in(number)
    try:
        loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    _listening.append(loop)

    def end() -> None:
        if loop not in _listening:
            return
        _listening.remove(loop)
        if not _listening:
            for number in NUMBERS:  # one that is not ours was set later
                if signal.getsignal(number) is _heard and _others[number]:
                    signal.signal(number, _others[number].pop())

    return end


def _forget_those_whose_loop_is_closed() -> None:
    """A loop that is closed amid a worker's life leaves it no chance to say that it is over.

    One by one: other threads add theirs meanwhile.
    """
    for stop in list(_stops):
        if stop.args[0].is_closed():
            with suppress(ValueError):  # another thread may have removed it
                _stops.remove(stop)
    for loop in list(_listening):
        if loop is not None and loop.is_closed():
            _listening.remove(loop)


def stop_if_heard() -> None:
    """Raise what a signal raised that came before, in case it was caught."""
    if _early:
        raise _early[0]


def once_for(number: signal.Signals) -> None:
    """Let this signal stop the workers once, however often it comes; for a process that may get it
    from two sides.
    """
    _heard_once[number] = False


def _put_in(number: int) -> None:
    """Put our handler in front of the one there is; what is not Python's (None) stays what it
    is.
    """
    handler = signal.getsignal(number)
    if handler is not _heard and handler is not None:
        others = [other for other in _others[number] if other != handler]
        if len(others) == MOST_HANDLERS:
            del others[1]  # not the first, which was there before all of them
        _others[number][:] = [*others, handler]
        signal.signal(number, _heard)


def _stay_in_front() -> None:
    """Take the place again that a server took which started later: its handler is called all the
    same.
    """
    for number in NUMBERS:
        if _is_another(signal.getsignal(number)):
            _put_in(number)


def _is_another(handler: Handler) -> bool:
    """Whether a program put it in. Python's own would end the process, or the main task, amid the
    work.
    """
    if not callable(handler) or handler in (_heard, signal.default_int_handler):
        return False
    return not isinstance(getattr(getattr(handler, "func", None), "__self__", None), asyncio.Runner)


def _tell(
    loop: asyncio.AbstractEventLoop, stop: Callable[[], None], at_once: Callable[[], None]
) -> None:
    at_once()
    if not loop.is_closed():
        loop.call_soon_threadsafe(stop)


def _heard(number: int, frame: FrameType | None) -> None:
    _forget_those_whose_loop_is_closed()
    if not _listening:  # no worker runs: another library restored our handler
        _pass_on(number, frame)
    elif not _stops:  # the worker has not begun: only the wait for it is to end
        _early.append(KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number))
        raise _early[0]
    else:
        if not (_passed_on[number] or _heard_once.get(number)):
            for stop in list(_stops):
                stop()
            if number in _heard_once:
                _heard_once[number] = True
        _pass_on(number, frame, only=_is_another)


def _pass_on(
    number: int, frame: FrameType | None, only: Callable[[Handler], bool] = lambda _: True
) -> None:
    """Call the handler behind ours; if that calls ours again, the one behind it."""
    behind = _others[number][: len(_others[number]) - _passed_on[number]]
    handler = behind[-1] if behind else signal.SIG_DFL
    if not only(handler):
        return
    if handler == signal.SIG_DFL:
        signal.signal(number, handler)
        signal.raise_signal(number)
    elif callable(handler):
        _passed_on[number] += 1
        try:
            handler(number, frame)
        finally:
            _passed_on[number] -= 1


def _forget_the_parents_workers() -> None:
    """In a process that was forked: the workers are the parent's, and a signal ends this one as any
    other.
    """
    _stops.clear()
    _listening.clear()
    _heard_once.clear()
    for number in NUMBERS:
        _others[number].clear()
        _passed_on[number] = 0
        if signal.getsignal(number) is _heard:
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)


os.register_at_fork(after_in_child=_forget_the_parents_workers)
