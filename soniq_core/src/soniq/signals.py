"""What a handler raises or returns to say how its attempt ends, other than by success or
failure.
"""

from datetime import timedelta

from soniq.errors import InvalidOption
from soniq.text import cut, shown


class Signal(Exception):
    """The parent of `Retry`, `Snooze` and `Cancel`. An ordinary exception, with read-only
    properties.
    """


def _seconds(owner: str, delay: object) -> float:
    if isinstance(delay, timedelta):
        delay = delay.total_seconds()
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay < 1e10:
        raise InvalidOption(
            f"{owner} takes a delay in seconds, 0 or more; got {shown(delay)}", option="delay"
        )
    return float(delay)


class Retry(Signal):
    """Run the job again after `delay` seconds (default: the job's own backoff). Uses up an attempt.

    With no attempt left the job ends `dead`, with `RetriesExhausted`.
    """

    def __init__(self, delay: float | timedelta | None = None) -> None:
        super().__init__(delay)
        self._delay = None if delay is None else _seconds("Retry", delay)

    @property
    def delay(self) -> float | None:
        return self._delay

    def __str__(self) -> str:
        return "retry" if self._delay is None else f"retry in {self._delay:g} s"


class Snooze(Signal):
    """Run the job again after `delay` seconds, as if this attempt had not been. Uses up no attempt.

    `reason`: why, for the log.
    """

    def __init__(self, delay: float | timedelta, reason: str | None = None) -> None:
        self._reason = None if reason is None else cut(str(reason))
        super().__init__(delay, *(() if reason is None else (self._reason,)))
        self._delay = _seconds("Snooze", delay)

    @property
    def delay(self) -> float:
        return self._delay

    @property
    def reason(self) -> str | None:
        return self._reason

    def __str__(self) -> str:
        return f"snooze for {self._delay:g} s" + (f": {self._reason}" if self._reason else "")


class Cancel(Signal):
    """End the job as `cancelled`, with a reason that its status shows."""

    def __init__(self, reason: str | None = None) -> None:
        # An exception is a likely reason, too
        self._reason = None if reason is None else cut(str(reason))
        super().__init__(self._reason)

    @property
    def reason(self) -> str | None:
        return self._reason

    def __str__(self) -> str:
        return f"cancelled: {self._reason}" if self._reason else "cancelled"


def signal_of(value: object) -> Signal | None:
    """The signal that a value is; a class stands for one of it, as in `raise Retry`."""
    if isinstance(value, Signal):
        return value
    if isinstance(value, type) and issubclass(value, Signal):
        made: Signal = value()
        return made
    return None


def alone(error: BaseException) -> BaseException:
    """The signal that is all there is in a group of errors, as `asyncio.TaskGroup` makes one; else
    the error itself.
    """
    found = error
    while isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
        found = found.exceptions[0]
    return found if isinstance(found, Signal) else error
