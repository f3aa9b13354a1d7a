"""How values are written into pages: each as text, whatever it holds."""

import json
import re
import unicodedata
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from typing import Any
from weakref import WeakKeyDictionary

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from soniq_dashboard.figures import about as about
from soniq_dashboard.figures import duration as duration
from soniq_dashboard.figures import number as number
from soniq_dashboard.figures import size as size

from .charts import Chart
from .query import quoted

MOST_SHOWN = 4_000
"""Characters of a value on a page."""

AGO = re.compile(r' data-ago="-?\d+">[^<]*')
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


def moment(at: datetime | None, now: datetime | None = None) -> str:
    """A time as seen from now, with the time itself beside it: `3 m 20 s ago`. A script of the page
    lets it go on.
    """
    if at is None:
        return "–"
    text, since = _iso(at), ((now or datetime.now(UTC)) - at).total_seconds()
    long = duration(abs(since)) if abs(since) >= 60 else f"{abs(since):.0f} s"
    seen = f"{long} ago" if since >= 0 else f"in {long}"
    return Markup('<time datetime="%s" title="%s" data-ago="%.0f">%s</time>') % (
        text, _utc(at), since, seen
    )  # fmt: skip


def tag(html: str) -> str:
    """The ETag of a page: the same as long as nothing on it changes but how long ago things were,
    which a script of the page lets go on.
    """
    without_ages = AGO.sub("", html).encode()
    return f'"{blake2b(without_ages, digest_size=12).hexdigest()}"'


def lasting(at: datetime | None, now: datetime | None = None) -> str:
    """For how long something has gone on: `3 m 20 s`. A script of the page lets it go on."""
    if at is None:
        return "–"
    since = max(0.0, ((now or datetime.now(UTC)) - at).total_seconds())
    seen = duration(since) if since >= 60 else f"{since:.0f} s"
    return Markup('<time datetime="%s" title="since %s" data-for data-ago="%.0f">%s</time>') % (
        _iso(at),
        _utc(at),
        since,
        seen,
    )


def clock(at: datetime | None) -> str:
    """A time itself, in UTC; a script of the page shows it in the zone of who looks."""
    if at is None:
        return "–"
    return Markup('<time datetime="%s" data-clock>%s</time>') % (_iso(at), _utc(at))


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def pretty(value: Any) -> str:
    """A JSON value as indented text, cut where it is long."""
    text = _indented(value)
    if len(text) <= MOST_SHOWN:
        return text
    return f"{text[:MOST_SHOWN]}\n… {number(len(text) - MOST_SHOWN)} more characters"


def is_cut(value: Any) -> bool:
    """Whether a page does not show all of a value."""
    return len(_indented(value)) > MOST_SHOWN


def _indented(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


_figures: WeakKeyDictionary[Chart, Markup] = WeakKeyDictionary()


def figure(chart: Chart) -> Markup:
    """A chart as it was drawn when it was first shown: it takes more than the rest of its page."""
    if chart not in _figures:
        drawn = environment().get_template("chart.html").render(chart=chart)
        _figures[chart] = Markup(drawn)  # noqa: S704, what our template made is escaped
    return _figures[chart]


@cache
def environment() -> Environment:
    """Where pages are made: all that they show is escaped, and what is not there is an error. It is
    the same for all dashboards of a process, since compiling a template takes longer than its page.
    """
    made = Environment(
        loader=PackageLoader("soniq_dashboard.web"),
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        number=number,
        duration=duration,
        about=about,
        size=size,
        moment=moment,
        lasting=lasting,
        clock=clock,
        figure=figure,
        pretty=pretty,
        shape=Markup,
        quoted=quoted,
    )
    return made
