"""Backoff: how long to wait before each retry."""

import random

import msgspec

from soniq.errors import InvalidOption


class Backoff(msgspec.Struct, frozen=True):
    """Exponential backoff with jitter: attempt n is retried after about `first * factor ** (n - 1)`
    seconds.

    Source: Marc Brooker, "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015); here the
    jitter is a share of the delay, so that the first retry never comes at once.
    """

    first: float = 1.0
    """Seconds before the first retry."""
    factor: float = 2.0
    """What each delay is multiplied by for the next."""
    cap: float = 3600.0
    """The longest delay, in seconds."""
    jitter: float = 0.25
    """The share by which a delay is made shorter or longer at random: 0.25 is up to a quarter."""

    def __post_init__(self) -> None:
        if not (
            self.first >= 0 and self.factor >= 1 and 0 <= self.cap < 1e10 and 0 <= self.jitter <= 1
        ):
            raise InvalidOption(
                "first and cap are 0 or more, cap below 1e10, factor 1 or more, jitter between 0"
                f" and 1; got {self}",
                option="retry",
            )

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the failed attempt number `attempt`, counted from 1."""
        try:
            plain = min(self.cap, self.first * self.factor ** (attempt - 1))
        except OverflowError:
            plain = self.cap
        return plain * (1 + self.jitter * random.uniform(-1, 1))


DEFAULT = Backoff()
"""Where nobody says otherwise: the first retry after about a second, then twice as long each time,
an hour at most.
"""
