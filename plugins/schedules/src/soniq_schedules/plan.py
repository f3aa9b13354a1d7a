"""What a schedule that is due does now: which ticks make a job, and which is the next."""

from collections import deque
from datetime import datetime, timedelta
from typing import NamedTuple

from .when import MOMENT, When

SPAN = timedelta(seconds=64)
"""How far back missed ticks are looked for at first."""


class Plan(NamedTuple):
    """What is to be done."""

    ticks: list[datetime]
    """The ticks that make a job each, the latest last."""
    following: datetime | None
    """The tick after them; None where they end."""
    left_out: bool
    """Whether ticks were missed that make no job."""


def plan(when: When, next_at: datetime, now: datetime, anchor: datetime) -> Plan:
    """What follows where the ticks since `next_at` have made no job yet."""
    window = timedelta(seconds=when.window_seconds)
    since = max(next_at, now - window)
    most = when.cap if when.catch_up == "all" else 1
    ticks = latest(when, since, now, anchor, most)
    return Plan(ticks, when.next_after(now, anchor), ticks[:1] != [next_at])


def latest(
    when: When, since: datetime, until: datetime, anchor: datetime, most: int
) -> list[datetime]:
    """The latest ticks between two moments, both included; the first of them first.

    They are looked for ever further back, so that a year of seconds is not counted through.
    """
    span = SPAN
    while True:
        begin = max(since, until - span)
        found: deque[datetime] = deque(maxlen=most)
        tick = when.next_after(begin - MOMENT, anchor)
        while tick is not None and tick <= until:
            found.append(tick)
            tick = when.next_after(tick, anchor)
        if len(found) == most or begin == since:
            return list(found)
        span *= 4
