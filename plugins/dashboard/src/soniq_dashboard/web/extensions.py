"""What plugins add to the pages: each is asked within a limit, and what fails in it is a box with
its name.
"""

import asyncio
import inspect
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from soniq import Soniq
from soniq.errors import PluginNotLoaded
from soniq_dashboard.collector import Collector
from soniq_dashboard.content import Link
from soniq_dashboard.extending import Alert, Page, Panel, Visit, dashboard_alerts, dashboard_pages
from soniq_dashboard.permissions import Permission

from .shared import Shared
from .written import Value, WrittenBlock, WrittenPanel, blocks, label, link

log = logging.getLogger("soniq.dashboard")

T = TypeVar("T")

LIMIT = 0.2
"""Seconds that each plugin has for a part of somebody else's page."""
LIMIT_OF_PAGE = 2.0
"""Seconds that a plugin has for a page of its own."""
FRESH_PAGES, FRESH_ALERTS = 15.0, 5.0
"""Seconds for which they are not asked for again."""
AGAIN = 3_600.0
"""Seconds after which the log is told again of what still fails."""
MOST_TOLD = 1_000
"""What failed that is remembered."""
MOST_PAGES, MOST_PARTS = 20, 20
"""Of one plugin: its pages, and the panels, links or alerts of one page."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong in a plugin, for the users of a page."""

    plugin: str
    text: str


@dataclass(frozen=True, slots=True)
class PluginPage:
    """A page of a plugin, as the menu has it."""

    plugin: str
    page: Page
    title: str
    path: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class WrittenAlert:
    """An alert as the template has it."""

    text: str
    level: Literal["bad", "warn"]
    to: Value


Found = tuple[Sequence[T], Sequence[Trouble]]
"""What plugins gave, and what went wrong."""


class Extensions:
    """What the plugins of an app add to its dashboard."""

    def __init__(self, app: Soniq, shared: Shared) -> None:
        self._app = app
        self._shared = shared
        self._told: dict[tuple[str, str, str], tuple[str, float]] = {}
        """The numbers under which the log has what failed, and until when it is not told again."""

    async def pages(self) -> Found[PluginPage]:
        """The pages of all plugins."""
        ask = partial(self._ask, dashboard_pages, _pages)
        return await self._shared.get("pages of plugins", ask, FRESH_PAGES)

    async def alerts(self) -> Found[WrittenAlert]:
        """What needs an operator, as plugins say."""
        ask = partial(self._ask, dashboard_alerts, _alerts, self._app)
        return await self._shared.get("alerts of plugins", ask, FRESH_ALERTS)

    async def panels(
        self, spec: Any, may: frozenset[Permission], *args: object
    ) -> Found[WrittenPanel]:
        """The panels that plugins add to a page, as far as the user may see them."""
        return await self._ask(spec, partial(_panels, may), self._app, *args)

    async def links(self, spec: Any, *args: object) -> Found[Value]:
        """The links that plugins add to a page."""
        return await self._ask(spec, _links, self._app, *args)

    async def content(self, page: PluginPage, visit: Visit) -> Sequence[WrittenBlock] | Trouble:
        """What a page of a plugin shows."""

        async def render() -> Sequence[WrittenBlock]:
            given = page.page.render(visit)
            return blocks(await given if inspect.isawaitable(given) else given)

        key = (page.path, tuple(sorted(visit.parameters.items())), visit.may)
        read = partial(self._limited, page.plugin, f"page {page.path}", render, LIMIT_OF_PAGE)
        return await self._shared.get(key, read)

    async def _ask(
        self, spec: Any, written: Callable[[str, Any], Sequence[T]], *args: object
    ) -> Found[T]:
        """Ask all plugins of an app that has started, one after the other, so that none is blamed
        for another; `written` makes of what one gave what templates have.
        """
        try:
            self._app.plugin(Collector)
        except PluginNotLoaded:
            return [], []

        found: list[T] = []
        troubles: list[Trouble] = []
        for plugin, call in spec.calls(self._app, *args):

            async def ask(plugin: str = plugin, call: Any = call) -> Sequence[T]:
                given = await call()
                return written(plugin, () if given is None else given)

            told = await self._limited(plugin, spec.name, ask, LIMIT)
            if isinstance(told, Trouble):
                troubles.append(told)
            else:
                found += told
        return found, troubles

    async def _limited(
        self, plugin: str, what: str, work: Callable[[], Awaitable[T]], seconds: float
    ) -> T | Trouble:
        """What some work of a plugin returns; what went wrong, also where it took too long."""
        task = asyncio.ensure_future(_caught(work))
        try:
            await asyncio.wait([task], timeout=seconds)
        finally:
            task.cancel()  # of one that is done nothing is left to cancel
        took, told = task.result() if task.done() else (seconds, None)
        if isinstance(told, BaseException):
            return self._trouble(plugin, what, "failed", told)
        if took >= seconds:
            return self._trouble(plugin, what, f"took longer than {seconds:g} s", None)
        return told  # type: ignore[return-value] # as the work is typed

    def _trouble(self, plugin: str, what: str, how: str, error: BaseException | None) -> Trouble:
        """Tell the log, unless it was told of the same of late."""
        key, now = (plugin, what, type(error).__name__), time.monotonic()
        number, until = self._told.get(key, ("", 0.0))
        if now >= until:
            number = secrets.token_hex(4)
            log.warning("%s of %s %s (%s)", what, plugin, how, number, exc_info=error)
            if len(self._told) >= MOST_TOLD:
                self._told.clear()
            self._told[key] = number, now + AGAIN
        return Trouble(plugin, f"{what} {how} ({number} in the log)")


async def _caught(work: Callable[[], Awaitable[T]]) -> tuple[float, T | BaseException]:
    """The seconds that some work took, and what it returned or raised, but for Ctrl-C: raised in a
    task, others would end the event loop.
    """
    began = time.monotonic()
    try:
        told: T | BaseException = await work()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        told = error
    return time.monotonic() - began, told


def _some(given: Iterable[object], kind: type[T], most: int) -> Sequence[T]:
    """What a plugin gave, which is of one kind. Raises `TypeError` and `ValueError`."""
    found = list(given)
    for each in found:
        if not isinstance(each, kind):
            raise TypeError(f"it returns {kind.__name__}s; got {type(each).__name__}")
    if len(found) > most:
        raise ValueError(f"these are {len(found)}; {most} at most")
    return found  # type: ignore[return-value] # as was seen


def _pages(plugin: str, given: Iterable[object]) -> Sequence[PluginPage]:
    made: dict[str, PluginPage] = {}
    for page in _some(given, Page, MOST_PAGES):
        path = "/pages/" + "/".join(filter(None, (quote(plugin, safe=""), page.path)))
        if path in made:
            raise ValueError(f"two of its pages are at {path}")
        made[path] = PluginPage(plugin, page, label(page.title), path)
    return list(made.values())


def _panels(
    may: frozenset[Permission], plugin: str, given: Iterable[object]
) -> Sequence[WrittenPanel]:
    return [
        WrittenPanel(label(each.title), blocks(each.blocks))
        for each in _some(given, Panel, MOST_PARTS)
        if each.permission is None or each.permission in may
    ]


def _alerts(plugin: str, given: Iterable[object]) -> Sequence[WrittenAlert]:
    return [
        WrittenAlert(to.text, each.level, to)
        for each in _some(given, Alert, MOST_PARTS)
        for to in [link(each)]
    ]


def _links(plugin: str, given: Iterable[object]) -> Sequence[Value]:
    return [link(each) for each in _some(given, Link, MOST_PARTS)]
