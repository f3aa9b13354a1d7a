"""SIGTERM and SIGINT: they stop every worker of the process. Signals are the process's, and so is what is kept here."""

import asyncio
import signal
import threading
from collections.abc import Callable

NUMBERS = (signal.SIGTERM, signal.SIGINT)

_stops: list[Callable[[], None]] = []
_previous: list[object] = []
_heard_once: dict[signal.Signals, bool] = {}


def stop_on_signals(stop: Callable[[], None]) -> Callable[[], None]:
    """Call `stop` at each SIGTERM and SIGINT, until the function that is returned is called.

    The first puts the handlers in, and the last the old ones back, in whichever order workers end. Does nothing outside
    the main thread, which is where Python has its signals.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    loop = asyncio.get_running_loop()
    if not _stops:
        _previous[:] = [signal.getsignal(number) for number in NUMBERS]
        for number in NUMBERS:
            loop.add_signal_handler(number, _stop_all, number)
    _stops.append(stop)

    def release() -> None:
        _stops.remove(stop)
        if not _stops:
            for number, handler in zip(NUMBERS, _previous, strict=True):
                loop.remove_signal_handler(number)
                signal.signal(number, handler)  # type: ignore[arg-type] # as getsignal gave it

    return release


def once_for(number: signal.Signals) -> None:
    """Let this signal stop the workers once, however often it comes; for a process that may get it from two sides."""
    _heard_once[number] = False


def _stop_all(number: signal.Signals) -> None:
    if _heard_once.get(number):
        return
    if number in _heard_once:
        _heard_once[number] = True
    for stop in list(_stops):
        stop()
