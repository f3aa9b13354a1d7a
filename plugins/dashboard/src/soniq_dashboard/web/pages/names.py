"""Jobs by name: how many ran, how many failed, how long they took."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from soniq_dashboard.collector import Collector
from soniq_dashboard.names import Name, names_of
from soniq_dashboard.web.view import View

from . import Page
from .series import WINDOWS, charts, chosen, collector, counted


async def read(view: View) -> Mapping[str, object]:
    counts, window = collector(view), chosen(view)
    names: Sequence[Name] = ()
    missing = ""
    if counts is not None:
        names, missing = await counted(view, ("names", window), lambda: _names(counts, window))
    return {
        "names": names,
        "counted": counts is not None,
        "missing": missing,
        "window": window,
        "windows": [(each, view.url("/names", window=each)) for each in WINDOWS],
    }


async def read_one(view: View) -> Mapping[str, object]:
    """One name, with its charts."""
    name = view.text("name")
    return {"name": name, **await charts(view, "/names/one", name=name)}


async def _names(counts: Collector, window: str) -> Sequence[Name]:
    until = datetime.now(UTC)
    points = await counts.totals(until - WINDOWS[window].length, until, by=["name"])
    return names_of(points)


PAGE = Page("/names", "names.html", read, "Names", "n")
ONE = Page("/names/one", "name.html", read_one, "Name")
