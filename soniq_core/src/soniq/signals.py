"""What a handler raises or returns to say how its attempt ends, other than by success or failure."""


class Signal(Exception):
    """The parent of `Retry`, `Snooze` and `Cancel`. An ordinary exception, with read-only properties."""


def _seconds(owner: str, delay: object) -> float:
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay < 1e10:
        raise ValueError(f"{owner} takes a delay in seconds, 0 or more; got {delay!r}")
    return float(delay)


class Retry(Signal):
    """Run the job again after `delay` seconds (default: the job's own backoff). Uses up an attempt.

    With no attempt left the job ends `dead`, with `RetriesExhausted`.
    """

    def __init__(self, delay: float | None = None) -> None:
        super().__init__(delay)
        self._delay = None if delay is None else _seconds("Retry", delay)

    @property
    def delay(self) -> float | None:
        return self._delay

    def __str__(self) -> str:
        return "retry" if self._delay is None else f"retry in {self._delay:g} s"


class Snooze(Signal):
    """Run the job again after `delay` seconds, as if this attempt had not been. Uses up no attempt."""

    def __init__(self, delay: float) -> None:
        super().__init__(delay)
        self._delay = _seconds("Snooze", delay)

    @property
    def delay(self) -> float:
        return self._delay

    def __str__(self) -> str:
        return f"snooze for {self._delay:g} s"


class Cancel(Signal):
    """End the job as `cancelled`, with a reason that its status shows."""

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(reason)
        self._reason = None if reason is None else str(reason)  # an exception is a likely reason, too

    @property
    def reason(self) -> str | None:
        return self._reason

    def __str__(self) -> str:
        return f"cancelled: {self._reason}" if self._reason else "cancelled"
