"""Jobs by name: how many ran, how many failed, how long they took."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from soniq import InvalidOption, Search
from soniq import Page as Found
from soniq_dashboard.collector import Collector
from soniq_dashboard.names import Name, names_of
from soniq_dashboard.reading import read_known
from soniq_dashboard.web.histogram import histogram
from soniq_dashboard.web.options import options
from soniq_dashboard.web.view import View

from . import Page
from .jobs import messages
from .series import WINDOWS, charts, chosen, collector, counted, windows

RECENT, LOOKED_AT = 10, 10_000
"""The newest jobs of a name that are shown, and how many jobs are looked at for them."""


async def read(view: View) -> Mapping[str, object]:
    counts, window = collector(view), chosen(view)
    names: Sequence[Name] = ()
    missing = ""
    if counts is not None:
        key = ("names", window)
        names, missing = await counted(view, key, lambda: _names(counts, window), names)

    return {
        "names": names,
        "counted": counts is not None,
        "missing": missing,
        "window": window,
        "windows": windows(view, "/names"),
    }


async def read_one(view: View) -> Mapping[str, object]:
    """One name: what it did over time, its options, who knows it, and its newest jobs."""
    name = view.text("name")
    if not name:
        return {"goto": view.url("/names")}
    drawn = await charts(view, "/names/one", name=name)
    recent = await view.shared.get(("recent", name), lambda: _recent(view, name))
    of_name: Name | None = drawn["of_name"]

    return {
        **drawn,
        "name": name,
        "histogram": histogram(of_name.took) if of_name else None,
        "options": options(view.app, name),
        "known": await _known(view, name),
        "recent": recent,
        "messages": await messages(view, recent.jobs if recent else ()),
    }


async def _known(view: View, name: str) -> tuple[int, int] | None:
    """How many live workers know a job, and how many there are; None where it cannot be told."""
    if collector(view) is None:
        return None

    known, _ = await counted(view, ("known", name), lambda: read_known(view.app, name), None)
    return known


async def _recent(view: View, name: str) -> Found | None:
    """The newest jobs of a name, among the newest of all; None where no job can have it."""
    try:
        return await view.app.search(Search(names=[name]), limit=RECENT, rows=LOOKED_AT)
    except InvalidOption:  # it is longer than a name that is searched for
        return None


async def _names(counts: Collector, window: str) -> Sequence[Name]:
    until = datetime.now(UTC)
    since, slow = until - WINDOWS[window].length, WINDOWS[window].slow
    return names_of(await counts.totals(since, until, by=["name"], step=slow))


PAGE = Page("/names", "names.html", read, "Names", "n")
ONE = Page("/names/one", "name.html", read_one, "Name")
