"""Sparklines: how many there were over time, as bars in a row of a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from soniq_dashboard.figures import number

SLOT, HEIGHT = 3, 20
"""Of the drawing, in its own units: how wide the place of a bar is, and how high the highest is."""
LEAST = 2.0
"""How high the lowest bar is that is not nothing, so that it can be seen."""


@dataclass(frozen=True, slots=True)
class Spark:
    """A row of bars as it is drawn."""

    total: int
    width: int
    ground: str
    """A line below all that is known."""
    bars: Sequence[tuple[str, str]]
    """Of each kind: the name of a class of the style sheet, and the bars as SVG has them."""
    told: str
    """What it shows, in words."""


def spark(
    counts: Sequence[int], what: str, long: str, bad: Sequence[int] | None = None, known: int = 0
) -> Spark:
    """Bars of how many there were in one time after the other: `what` is counted, and `long` is how
    long each of these times is. `bad`: how many of them failed, where that is not all. `known`: the
    first time of which that is known.
    """
    most, total = max(counts, default=0), sum(counts)
    told = f"{number(total)} {what}"
    if most:
        told += f", at most {number(most)} in {long}, {number(counts[-1])} so far in the last"
    if died := sum(bad or ()):
        told += f"; {number(died)} of them died"

    heights = [
        [each / most * HEIGHT if each else 0.0 for each in row] for row in (counts, bad or ())
    ]
    seen = [max(each, LEAST) if each else 0.0 for each in heights[0]]
    bars = {"bad": _bars(seen)} if bad is None else {"calm": _bars(seen), "bad": _bars(heights[1])}
    return Spark(
        total,
        len(counts) * SLOT,
        f"M{known * SLOT} {HEIGHT}H{len(counts) * SLOT}",
        [(kind, path) for kind, path in bars.items() if path],
        told,
    )


def _bars(heights: Sequence[float]) -> str:
    """A line upwards for each, from the ground."""
    return "".join(
        f"M{place * SLOT + 1} {HEIGHT}V{HEIGHT - height:.0f}"
        for place, height in enumerate(heights)
        if height >= 0.5
    )
