"""The pages: what each reads, and the template that shows it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from soniq_dashboard.web.view import View


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the dashboard."""

    path: str
    template: str
    read: Callable[[View], Awaitable[Mapping[str, object]]]
    """What the template shows; where it has `goto`, an address, the answer leads there instead."""
    title: str
    key: str | None = None
    """The letter that leads there, after a `g`; None: it is not in the menu."""
