"""SIGTERM and SIGINT: they stop every worker of the process. Signals are the process's, and so is what is kept here."""

import asyncio
import signal
import threading
from collections.abc import Callable
from functools import partial

NUMBERS = (signal.SIGTERM, signal.SIGINT)

_stops: list[Callable[[], object]] = []
_previous: list[object] = []
_listening: list[object] = []
_heard_once: dict[int, bool] = {}


def stop_on_signals(stop: Callable[[], None]) -> Callable[[], None]:
    """Call `stop` in this event loop at each SIGTERM and SIGINT, until the function that is returned is called.

    Outside the main thread, which is where Python has its signals, only those that the main thread listens for.
    """
    stopping = partial(asyncio.get_running_loop().call_soon_threadsafe, stop)
    _stops.append(stopping)
    end = listen()

    def release() -> None:
        end()
        _stops.remove(stopping)

    return release


def listen() -> Callable[[], None]:
    """Have signals stop the workers, of whatever thread, until the function that is returned is called.

    The first puts the handlers in, and the last the old ones back, in whichever order they end. Does nothing outside
    the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    if not _listening:
        _previous[:] = [signal.signal(number, _stop_all) for number in NUMBERS]
    _listening.append(None)

    def end() -> None:
        _listening.pop()
        if not _listening:
            for number, handler in zip(NUMBERS, _previous, strict=True):
                signal.signal(number, handler)  # type: ignore[arg-type] # as it was given back

    return end


def once_for(number: signal.Signals) -> None:
    """Let this signal stop the workers once, however often it comes; for a process that may get it from two sides."""
    _heard_once[number] = False


def _stop_all(number: int, _frame: object) -> None:
    if not _stops:  # the worker has not begun: only the wait for it is to end
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
    if _heard_once.get(number):
        return
    if number in _heard_once:
        _heard_once[number] = True
    for stop in list(_stops):
        stop()
