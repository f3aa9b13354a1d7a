"""How figures are written, in a browser and in a terminal."""

import math
from functools import lru_cache

from soniq import Count

from .durations import BOUNDS

UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
SIZES = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB"))


def number(value: float | Count | None) -> str:
    """A number with its thousands apart: `12,345`; `10,000+` where there may be more."""
    if value is None:
        return "–"
    if isinstance(value, Count):
        return f"{value.value:,}{'' if value.exact else '+'}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def duration(seconds: float | None) -> str:
    """A time in the two units that tell most: `1.4 ms`, `12.3 s`, `3 m 20 s`, `2 d 4 h`."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"

    left = int(seconds)
    parts: list[str] = []
    for size, unit in UNITS:
        if left >= size or parts:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2])


@lru_cache(1_000)
def about(seconds: float | None) -> str:
    """A quantile of durations: `< 5 ms` below the end of the first bucket, where they are not told
    apart. A chart has hundreds of them, of some thirty buckets.
    """
    if seconds is not None and 0 < seconds < BOUNDS[0]:
        return f"< {BOUNDS[0] * 1000:.0f} ms"
    return duration(seconds)


def size(count: int | None) -> str:
    """Bytes: `12.3 kB`."""
    if count is None:
        return "–"
    for unit, name in SIZES:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"


def short_size(count: int) -> str:
    """Bytes in eight characters, at most: `123.4MB`."""
    return size(count).removesuffix("ytes").replace(" ", "")


def short_number(value: float | Count | None) -> str:
    """A number in six characters, about: `12,345`, `123k`, `1.2M`, `50,000+`; `0.4`."""
    if value is None:
        return "–"
    number_, more = (value.value, not value.exact) if isinstance(value, Count) else (value, False)
    sign = "+" if more else ""
    for least, unit, name in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (100_000, 1e3, "k")):
        if number_ >= least:
            return f"{number_ / unit:.{0 if number_ >= 100 * unit else 1}f}{name}{sign}"
    if isinstance(number_, float) and 0 < number_ < 10:
        return f"{number_:.1f}{sign}"
    return f"{number_:,.0f}{sign}"


def short_duration(seconds: float | None) -> str:
    """A time in seven characters, about: `1.4ms`, `12.3s`, `3m20s`, `2d4h`."""
    return duration(seconds).replace(" ", "")


def short_about(seconds: float | None) -> str:
    """A quantile in seven characters, about: `<5ms`, `12.3s`."""
    return about(seconds).replace(" ", "")
