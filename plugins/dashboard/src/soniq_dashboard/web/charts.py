"""Charts: numbers over time as lines that a template draws."""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

WIDTH, HEIGHT = 600, 120
"""Of the drawing, in its own units."""
MOST_TICKS = 7
TICKS = [
    *(timedelta(minutes=each) for each in (1, 5, 10, 15, 30)),
    *(timedelta(hours=each) for each in (1, 2, 4, 6, 12)),
    *(timedelta(days=each) for each in (1, 2, 7, 15, 30, 90)),
]
"""What may be between two times that are written below a chart."""
MARGIN = 0.04
"""The share of the width at each end in which no time is written, as it would be cut."""


@dataclass(frozen=True, slots=True)
class Line:
    """Numbers of one kind, one for each time; None where there is none."""

    label: str
    kind: str
    """How it looks: the name of a class of the style sheet."""
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Tick:
    """A time with a text: a round one below a chart, or one at which something came."""

    at: datetime
    place: float
    """Where it is, from 0 at the left to 1."""
    text: str


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Chart:
    """A chart as it is drawn; each is itself alone."""

    title: str
    lines: Sequence[Line]
    paths: Sequence[str]
    """Of each line, as SVG has them."""
    open_paths: Sequence[str]
    """Of each line what leads to its last points, which are not complete yet."""
    top: str
    """What the upper edge stands for."""
    latest: Sequence[str]
    """The last number of each line that is complete."""
    ticks: Sequence[Tick]
    marks: Sequence[Tick]
    """What came, and when."""
    numbers: Sequence[tuple[datetime, Sequence[str]]]
    """Those of all lines at the round times, for who does not see lines."""
    open_numbers: Sequence[tuple[datetime, Sequence[str]]]
    """Those that are not complete yet."""
    times: Sequence[datetime]
    points: Sequence[str]
    """The numbers of each line at all times, a `|` between them; nothing where there is none."""

    @property
    def begins(self) -> int:
        """The first of the times, in milliseconds since 1970."""
        return round(self.times[0].timestamp() * 1000)

    @property
    def ends(self) -> int:
        """The last of them."""
        return round(self.times[-1].timestamp() * 1000)

    @property
    def grid(self) -> str:
        """Lines across, and one down at each tick."""
        half = HEIGHT // 2
        across = "".join(f"M0 {y}H{WIDTH}" for y in (0, half, HEIGHT))
        return across + "".join(f"M{each.place * WIDTH:.0f} 0V{HEIGHT}" for each in self.ticks)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any([*self.paths, *self.open_paths])

    @property
    def told(self) -> str:
        """What it shows, in words."""
        parts = (
            f"{line.label} {latest} at last"
            for line, latest in zip(self.lines, self.latest, strict=True)
        )
        came = "".join(f"; {each.text} came at {each.at:%H:%M}" for each in self.marks)
        dotted = "; the dotted end is not complete yet" if any(self.open_paths) else ""
        return f"{self.title}: {', '.join(parts)}, at most {self.top}{came}{dotted}"


def chart(
    title: str,
    times: Sequence[datetime],
    lines: Sequence[Line],
    written: Callable[[float], str],
    came: Mapping[datetime, str] | None = None,
    open_points: int = 0,
) -> Chart:
    """A chart of lines whose numbers are at these times; `written` says how a number is told;
    `came`: what is marked at some times; `open_points`: how many of the last are not complete.
    """
    complete = len(times) - open_points
    most = max((each for line in lines for each in line.values if each is not None), default=0.0)
    top = _rounded_up(most)
    below = ticks(times[0], times[-1])
    places = [(each.at, bisect_right(times, each.at) - 1) for each in below]

    def numbers(place: int) -> Sequence[str]:
        return [_told(line.values[place], written) for line in lines]

    return Chart(
        title,
        lines,
        [_path(_between(line.values, 0, complete), top) for line in lines],
        [_open_path(line.values, complete, top) for line in lines],
        written(top),
        [_latest(line.values[:complete], written) for line in lines],
        below,
        _marks(times[0], times[-1], came or {}),
        [(at, numbers(place)) for at, place in places if place < complete],
        [(times[place], numbers(place)) for place in range(complete, len(times))],
        times,
        [_all_told(line.values, written) for line in lines],
    )


def _marks(since: datetime, until: datetime, came: Mapping[datetime, str]) -> Sequence[Tick]:
    """What is marked between two times."""
    length = until - since
    return [
        Tick(at, (at - since) / length, text) for at, text in came.items() if since <= at <= until
    ]


def ticks(since: datetime, until: datetime) -> Sequence[Tick]:
    """The round times between two, a few of them."""
    length = until - since
    step = next((each for each in TICKS if length / each <= MOST_TICKS), TICKS[-1])
    seconds = step.total_seconds()
    first = math.ceil(since.timestamp() / seconds)
    times = [
        datetime.fromtimestamp(number * seconds, UTC)
        for number in range(first, math.floor(until.timestamp() / seconds) + 1)
    ]
    days = step >= timedelta(days=1)
    found = [
        Tick(at, (at - since) / length, f"{at:%b} {at.day}" if days else f"{at:%H:%M}")
        for at in times
    ]
    return [each for each in found if MARGIN <= each.place <= 1 - MARGIN]


def _latest(values: Sequence[float | None], written: Callable[[float], str]) -> str:
    return _told(next((each for each in reversed(values) if each is not None), None), written)


def _all_told(values: Sequence[float | None], written: Callable[[float], str]) -> str:
    """All numbers of a line, with bars between them; nothing where there is none."""
    return "|".join("" if each is None else written(each) for each in values)


def _told(value: float | None, written: Callable[[float], str]) -> str:
    return "–" if value is None else written(value)


def _rounded_up(most: float) -> float:
    """The next of 1, 2, 5, 10, 20 and so on; 1 for nothing."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= most * 0.999)


def _between(values: Sequence[float | None], first: int, end: int) -> Sequence[float | None]:
    """The numbers without those before a place, and from another on."""
    return [value if first <= place < end else None for place, value in enumerate(values)]


def _open_path(values: Sequence[float | None], complete: int, top: float) -> str:
    """The line from the last number that is complete through those that are not."""
    if all(each is None for each in values[complete:]):
        return ""
    return _path(_between(values, complete - 1, len(values)), top)


def _path(values: Sequence[float | None], top: float) -> str:
    """A line through the numbers; where one is missing, it begins anew. A number by itself is a
    level as wide as the time it stands for.
    """
    across, high = WIDTH / max(len(values) - 1, 1), HEIGHT / top
    parts, drawn = [], False
    for place, value in enumerate(values):
        if value is None:
            drawn = False
        elif drawn:
            parts.append(f"L{place * across:.0f} {HEIGHT - value * high:.1f}")
        elif place + 1 < len(values) and values[place + 1] is not None:
            parts.append(f"M{place * across:.0f} {HEIGHT - value * high:.1f}")
            drawn = True
        else:
            left, right = ((place + half) * across for half in (-0.5, 0.5))
            y = HEIGHT - value * high
            parts.append(f"M{max(left, 0):.0f} {y:.1f}H{min(right, WIDTH):.0f}")
    return "".join(parts)
