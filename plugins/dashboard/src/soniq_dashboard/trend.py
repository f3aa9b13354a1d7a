"""Whether a queue is being worked off, and until when."""

from collections.abc import Sequence

from soniq import Count

from .figures import duration, number
from .reading import Gauge

MINUTES = 10
"""How far it looks back."""


def trend(samples: Sequence[Gauge], waiting: Count) -> str:
    """In words how soon a queue is empty, or how fast it grows, as its samples of the last minutes
    have it; empty where they do not say. Each sample is the highest of a minute.
    """
    if len(samples) < 3 or not waiting.value:
        return ""
    first, last = samples[0], samples[-1]
    minutes = (last.at - first.at).total_seconds() / 60
    slope = (last.waiting - first.waiting) / minutes
    if slope >= 1:
        return f"{number(round(slope))} more wait each minute"
    if slope <= -1 and waiting.exact:
        return f"empty in about {duration(waiting.value / -slope * 60)}, at the pace of now"
    return ""
