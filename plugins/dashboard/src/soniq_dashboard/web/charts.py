"""Charts: numbers over time as lines that a template draws."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

WIDTH, HEIGHT = 600, 120
"""Of the drawing, in its own units."""


@dataclass(frozen=True, slots=True)
class Line:
    """Numbers of one kind, one for each time; None where there is none."""

    label: str
    kind: str
    """How it looks: the name of a class of the style sheet."""
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart as it is drawn."""

    title: str
    lines: Sequence[Line]
    paths: Sequence[str]
    """Of each line, as SVG has them."""
    top: str
    """What the upper edge stands for."""
    latest: Sequence[str]
    """The last number of each line."""
    since: datetime
    until: datetime

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(self.paths)

    @property
    def told(self) -> str:
        """What it shows, in words."""
        parts = (
            f"{line.label} {latest} at last"
            for line, latest in zip(self.lines, self.latest, strict=True)
        )
        return f"{self.title}: {', '.join(parts)}, at most {self.top}"


def chart(
    title: str, times: Sequence[datetime], lines: Sequence[Line], written: Callable[[float], str]
) -> Chart:
    """A chart of lines whose numbers are at these times; `written` says how a number is told."""
    most = max((each for line in lines for each in line.values if each is not None), default=0.0)
    top = _rounded_up(most)
    return Chart(
        title,
        lines,
        [_path(line.values, top) for line in lines],
        written(top),
        [_latest(line, written) for line in lines],
        times[0],
        times[-1],
    )


def _latest(line: Line, written: Callable[[float], str]) -> str:
    values = [each for each in line.values if each is not None]
    return written(values[-1]) if values else "–"


def _rounded_up(most: float) -> float:
    """The next of 1, 2, 5, 10, 20 and so on; 1 for nothing."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= most * 0.999)


def _path(values: Sequence[float | None], top: float) -> str:
    """A line through the numbers; where one is missing, it begins anew."""
    across = WIDTH / max(len(values) - 1, 1)
    parts, drawn = [], False
    for place, value in enumerate(values):
        if value is not None:
            x, y = place * across, HEIGHT - value / top * HEIGHT
            parts.append(f"{'L' if drawn else 'M'}{x:.0f} {y:.1f}")
            if not drawn and (place + 1 == len(values) or values[place + 1] is None):
                parts.append("h2")  # a number by itself can be seen, too
        drawn = value is not None
    return "".join(parts)
