"""A job on its way in: what becomes a row."""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, Protocol

import msgspec

from soniq.checks import check_text
from soniq.ids import JobId
from soniq.unique import Dedup, Unique


class AnyJob(Protocol):
    """A `Job`, whatever its arguments and its result are."""

    name: str
    function: Callable[..., Any]


class NewJob(msgspec.Struct, kw_only=True):
    """A job on its way in. Inside `around_enqueue` its headers may be changed, and it may be held
    and marked.
    """

    id: JobId
    """The job's id; once enqueued, `.inserted` is False where it is that of an existing duplicate.
    """
    made_id: str
    """The id that was made for it, which each try to insert it sends."""
    name: str
    args: Mapping[str, object]
    """The bound arguments by name, defaults included."""
    queue: str
    priority: int
    max_attempts: int
    keep: float
    unique: bool | Unique
    serializer: str
    headers: MutableMapping[str, Any]
    dedup: Dedup | None
    payload: bytes = b""
    """The arguments as they are stored."""
    encoded_headers: str | None = None
    """The headers as they are stored."""
    extra: dict[str, object] | None = None
    """What few jobs have: delay, at, timeout, expires, expires_at, keep_dead, tags, held_by,
    marks.
    """
    types: Mapping[str, Any] = {}
    """What each argument is declared to be, by name; empty where this app does not know the job."""

    @property
    def holders(self) -> Sequence[str]:
        """Who holds it as it comes in, in order."""
        return (self.extra or {}).get("held_by", ())  # type: ignore[return-value]

    def hold(self, holder: str, *, first: bool = False) -> None:
        """Let it be held until `holder`, as a plugin's name, releases it; `first`: before the other
        holders, else behind them.

        It runs once nobody holds it. The first holder acts: the others wait for it.
        """
        check_text("holder", holder, 200)
        self.extra = {**(self.extra or {}), "held_by": with_name(self.holders, holder, first)}

    @property
    def marks(self) -> Sequence[str]:
        """The plugins that must hear how it ends."""
        return (self.extra or {}).get("marks", ())  # type: ignore[return-value]

    def mark(self, plugin: str, *, hold: bool = False, first: bool = False) -> None:
        """Let a plugin of this name hear how it ends, wherever that is; `hold`: and hold it, too,
        as `hold` does.
        """
        check_text("plugin", plugin, 200)
        self.extra = {**(self.extra or {}), "marks": with_name(self.marks, plugin, False)}
        if hold:
            self.hold(plugin, first=first)


def with_name(names: Sequence[str], name: str, first: bool) -> list[str]:
    """Names and one more, before or behind them; one that is there keeps its place."""
    if name in names:
        return list(names)
    return [name, *names] if first else [*names, name]
