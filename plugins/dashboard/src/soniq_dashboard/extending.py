"""The hooks of the dashboard: pages, panels, links and alerts of other plugins.

A plugin implements them with `@hookimpl(optionalhook=True)`, so that it does without the dashboard,
and imports the values that it returns inside, where they are needed.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

import msgspec

from soniq import InvalidOption, JobDetail, Soniq
from soniq.plugin import hookspec

from .content import Block, Link
from .permissions import PERMISSIONS, Permission

LONGEST_TITLE = 60
PATH = re.compile(r"[a-z0-9-]+(/[a-z0-9-]+)*|")


class Visit(msgspec.Struct, frozen=True):
    """Somebody looks at a page of a plugin."""

    app: Soniq
    parameters: Mapping[str, str]
    """Those of the address: each up to 500 characters."""
    may: frozenset[Permission]
    """What the user may do. Without `see_arguments` a page shows nothing that belongs to jobs: no
    arguments, results, headers, messages of errors.
    """


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a plugin, in the menu. Raises `InvalidOption`.

    It is at `/pages/<the plugin's name>`, below that at `path` where a plugin has several: words of
    a-z, 0-9 and `-`, with `/` between them.
    """

    title: str
    """1 to 60 characters."""
    render: Callable[[Visit], Sequence[Block] | Awaitable[Sequence[Block]]]
    """What the page shows, `def` or `async def`: asked at most once a second for what is the same,
    and given two seconds.
    """
    path: str = ""
    permission: Permission | None = None
    """What a user needs to see it; None: to see the dashboard."""

    def __post_init__(self) -> None:
        _check_title(self.title)
        _check_permission(self.permission)
        if not PATH.fullmatch(str(self.path)):
            raise InvalidOption(
                f"path= is words of a-z, 0-9 and - with / between them; got {self.path!r:.100}",
                option="path",
            )


class Panel(msgspec.Struct, frozen=True):
    """A part of a page of the dashboard. Raises `InvalidOption`."""

    title: str
    """1 to 60 characters."""
    blocks: Sequence[Block]
    permission: Permission | None = None
    """What a user needs to see it."""

    def __post_init__(self) -> None:
        _check_title(self.title)
        _check_permission(self.permission)


class Alert(Link, frozen=True):
    """Something that needs an operator, on the overview; it leads to where one sees more. Raises
    `InvalidOption`.
    """

    level: Literal["bad", "warn"] = "warn"
    """`bad`: jobs do not run as they should; these are shown first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.level not in ("bad", "warn"):
            raise InvalidOption(f"level= is bad or warn; got {self.level!r:.100}", option="level")


@hookspec.collected
def dashboard_pages() -> Sequence[Page]:  # type: ignore[empty-body]
    """Pages of the plugin's own. Asked at most every 15 seconds. After an error the plugin has
    none, and the overview says so.
    """


@hookspec.collected
def dashboard_job_panels(app: Soniq, job: JobDetail) -> Sequence[Panel]:  # type: ignore[empty-body]
    """Parts of the page of a job: what the plugin knows of it. What belongs to the job (arguments,
    result, headers, progress, errors) is there as this user may see it: masked, or None.
    """


@hookspec.collected
def dashboard_queue_panels(app: Soniq, queue: str) -> Sequence[Panel]:  # type: ignore[empty-body]
    """Parts of the page of a queue."""


@hookspec.collected
def dashboard_system_panels(app: Soniq) -> Sequence[Panel]:  # type: ignore[empty-body]
    """Parts of the page about the system: how what the plugin needs or keeps stands."""


@hookspec.collected
def dashboard_links(app: Soniq, job: JobDetail) -> Sequence[Link]:  # type: ignore[empty-body]
    """Where else one sees something of a job, such as its trace. The job is as
    `dashboard_job_panels` gets it.
    """


@hookspec.collected
def dashboard_alerts(app: Soniq) -> Sequence[Alert]:  # type: ignore[empty-body]
    """What needs an operator, on the overview. Asked at most every five seconds."""


HOOKS = (
    dashboard_pages,
    dashboard_job_panels,
    dashboard_queue_panels,
    dashboard_system_panels,
    dashboard_links,
    dashboard_alerts,
)


def _check_title(title: object) -> None:
    if not isinstance(title, str) or not title.strip() or len(title) > LONGEST_TITLE:
        raise InvalidOption(
            f"title= is 1 to {LONGEST_TITLE} characters; got {title!r:.100}", option="title"
        )


def _check_permission(permission: object) -> None:
    if permission is not None and permission not in PERMISSIONS:
        there_are = ", ".join(sorted(PERMISSIONS))
        raise InvalidOption(
            f"there is no permission {permission!r:.100}; there are {there_are}",
            option="permission",
        )
