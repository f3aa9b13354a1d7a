"""What jobs are searched for, and what is found."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

import msgspec

from soniq.checks import check_integer, check_text, check_time
from soniq.errors import InvalidOption
from soniq.faithful import difference
from soniq.ids import parse_id
from soniq.status import STATUSES, Status
from soniq.text import shown

Order = Literal["newest", "finished", "due", "started"]
ORDERS: tuple[Order, ...] = get_args(Order)

Range = tuple[datetime | None, datetime | None]
"""From a time on, and before another; None is no bound. Both have a time zone."""

ORDERED: Mapping[Order, tuple[Status, ...]] = {
    "newest": STATUSES,
    "finished": ("dead", "cancelled"),
    "due": ("queued",),
    "started": ("running",),
}
"""The statuses of the jobs that an order is for."""

LONGEST = 500
"""Bytes of a text that is searched for, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """Which jobs are searched for, and in which order. What is None can be anything; all that is
    given must hold.
    """

    statuses: Collection[Status] | None = None
    names: Collection[str] | None = None
    name_prefix: str | None = None
    queues: Collection[str] | None = None
    tags: Collection[str] | None = None
    """Each of them is one of the job's tags."""
    priorities: Collection[int] | None = None
    worker_id: str | None = None
    dedup_label: str | None = None
    """The dedup key that the job was given at its enqueue."""
    error_type: str | None = None
    """The type of the latest error, as `ValueError`."""
    error_text: str | None = None
    """A part of the message of the latest error, as it is written."""
    args: Mapping[str, Any] | None = None
    """JSON values that the job's arguments contain, nested ones too. Only arguments of the
    serializer "json" are looked into.
    """
    args_text: str | None = None
    """A part of the arguments as they are stored, of any serializer."""
    headers: Mapping[str, Any] | None = None
    """JSON values that the job's headers contain."""
    created: Range | None = None
    """When it was enqueued. Clocks may differ by an hour from the database's where ids are made."""
    scheduled: Range | None = None
    started: Range | None = None
    """When its latest attempt began."""
    finished: Range | None = None
    order: Order = "newest"
    """`newest`: those created last come first. `finished`: those that finished last, of those that
    are dead or cancelled. `due`: those that are due first, of those that are queued. `started`:
    those that have run for the longest time, of those that run.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundJob:
    """A job in short: without arguments, result and traceback."""

    job_id: str
    job_name: str
    status: Status
    queue: str
    priority: int
    attempt: int
    max_attempts: int
    created_at: datetime
    scheduled_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    worker_id: str | None
    tags: list[str]
    held_by: list[str]
    error_type: str | None
    error_message: str | None
    """The first 300 characters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A part of what a search finds."""

    jobs: list[FoundJob]
    next: str | None
    """The cursor with which the search goes on; None where all was looked at."""
    previous: str | None
    """The cursor with which it goes back: to the page that ends where this one begins. None on the
    first page, and on those by `started` that go on by creation.
    """
    complete: bool
    """False where the time or the rows that it may look at ended before the page was full. What it
    has not looked at yet comes with `next`, or, on the way back, with `previous`.
    """
    looked_back_to: datetime | None
    """How far it looked, by the time that it is ordered by; None where that is to the end."""


def check_search(search: object) -> Search:
    """The search, if it can be. Raises `InvalidOption`."""
    if not isinstance(search, Search):
        raise InvalidOption(f"search= takes a Search; got {shown(search)}", option="search")
    _check_order(search)
    for option in ("names", "queues", "tags"):
        for text in _each(option, getattr(search, option)):
            check_text(option, text, LONGEST)
    for priority in _each("priorities", search.priorities):
        check_integer("priorities", priority, -32768, 32767)
    for option in ("name_prefix", "dedup_label", "error_type", "error_text", "args_text"):
        if (text := getattr(search, option)) is not None:
            check_text(option, text, LONGEST)

    if search.worker_id is not None:
        parse_id(search.worker_id)
    for option in ("args", "headers"):
        if (values := getattr(search, option)) is not None:
            _check_json(option, values)
    for option in ("created", "scheduled", "started", "finished"):
        _check_range(option, getattr(search, option))
    return search


def _check_order(search: Search) -> None:
    if search.order not in ORDERS:
        raise InvalidOption(
            f"order= is one of {', '.join(ORDERS)}; got {search.order!r}", option="order"
        )
    for status in _each("statuses", search.statuses):
        if status not in ORDERED[search.order]:
            possible = ", ".join(ORDERED[search.order])
            raise InvalidOption(
                f"statuses= of a search by {search.order!r} are of {possible}; got {status!r}",
                option="statuses",
            )


def _each(option: str, values: object) -> Collection[Any]:
    if values is None:
        return ()
    if isinstance(values, str | bytes) or not isinstance(values, Collection):
        raise InvalidOption(f"{option}= takes a list; got {shown(values)}", option=option)
    return values


def _check_json(option: str, values: object) -> None:
    """Raise `InvalidOption` unless these are values that JSON holds as what they are."""
    try:
        text = msgspec.json.encode(values)
        possible = (
            isinstance(values, Mapping)
            and b"\\u0000" not in text
            and difference(values, msgspec.json.decode(text), loose=True) is None
        )
    except (TypeError, ValueError, RecursionError):
        possible = False
    if not possible:
        raise InvalidOption(
            f"{option}= takes JSON values by name, as a mapping, without the character NUL; got"
            f" {shown(values)}",
            option=option,
        )


def _check_range(option: str, times: object) -> None:
    if times is None:
        return
    if not isinstance(times, tuple) or len(times) != 2:
        raise InvalidOption(
            f"{option}= takes two times, from and before, or None for either; got {shown(times)}",
            option=option,
        )
    for time in times:
        if time is not None:
            check_time(option, time)
    if None not in times and times[0] > times[1]:
        raise InvalidOption(
            f"{option}= ends before it begins: from {times[0]}, before {times[1]}", option=option
        )
