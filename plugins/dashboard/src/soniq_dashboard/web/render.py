"""How values are written into pages: each as text, whatever it holds."""

import json
import math
import unicodedata
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .query import quoted

MOST_SHOWN = 4_000
"""Characters of a value on a page."""

UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
SIZES = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB"))
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
"""Kinds of characters that cannot be seen, or that turn others around."""


def visible(value: object) -> object:
    """A text with its invisible characters written out; other values as they are."""
    if value is None:
        return "–"
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(map(_visible, value))


def _visible(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in HIDDEN:
        return character
    return (
        character.encode("ascii", "backslashreplace").decode()
        if character > "\x7f"
        else (f"\\x{ord(character):02x}")
    )


def number(value: float | None) -> str:
    """A number with its thousands apart: `12,345`."""
    if value is None:
        return "–"
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


def size(count: int | None) -> str:
    """Bytes: `12.3 kB`."""
    if count is None:
        return "–"
    for unit, name in SIZES:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"


def moment(at: datetime | None, now: datetime | None = None) -> str:
    """A time as seen from now, with the time itself beside it: `3 m 20 s ago`."""
    if at is None:
        return "–"
    text, since = _iso(at), ((now or datetime.now(UTC)) - at).total_seconds()
    long = duration(abs(since)) if abs(since) >= 60 else f"{abs(since):.0f} s"
    seen = f"{long} ago" if since >= 0 else f"in {long}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(text, _utc(at), seen)


def clock(at: datetime | None) -> str:
    """A time itself, in UTC; a script of the page shows it in the zone of who looks."""
    if at is None:
        return "–"
    return Markup('<time datetime="{}" data-clock>{}</time>').format(_iso(at), _utc(at))


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def pretty(value: Any) -> str:
    """A JSON value as indented text, cut where it is long."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    if len(text) <= MOST_SHOWN:
        return text
    return f"{text[:MOST_SHOWN]}\n… {number(len(text) - MOST_SHOWN)} more characters"


def environment() -> Environment:
    """Where pages are made: all that they show is escaped, and what is not there is an error."""
    made = Environment(
        loader=PackageLoader("soniq_dashboard.web"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        number=number,
        duration=duration,
        size=size,
        moment=moment,
        clock=clock,
        pretty=pretty,
        shape=Markup,
        quoted=quoted,
    )
    return made
