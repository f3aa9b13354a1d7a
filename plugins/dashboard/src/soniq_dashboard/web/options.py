"""What the code of a job says of it, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from soniq import Backoff, Soniq, Unique

from .render import duration, number

MOST = 20
"""Texts of a list, and delays of a retry, that are named."""


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a job."""

    name: str
    text: str
    said: bool
    """Whether the job says so itself; else it is a default."""


def options(app: Soniq, name: str) -> Sequence[Option] | None:
    """The options of a job, as this process knows it, and the more important defaults; None where
    it does not know the job.
    """
    job = app.registry.get(name)
    if job is None:
        return None
    said, settings = job.options, app.settings
    defaults: Mapping[str, Any] = {
        "queue": "default",
        "priority": 0,
        "max_attempts": settings.max_attempts,
        "keep": settings.keep,
    }

    def option(label: str, field: str, default: str = "") -> Option:
        value = getattr(said, field)
        given = value is not None and value is not False and value != ()
        shown = value if given else defaults.get(field)
        return Option(label, default if shown is None else _written(field, shown), given)

    found = [
        option("Queue", "queue"),
        option("Priority", "priority"),
        option("Attempts", "max_attempts"),
        option("Retry", "retry", _backoff(Backoff())),
        option("Timeout", "timeout", "none"),
        option("Kept", "keep"),
        option("Kept if dead", "keep_dead"),
        option("Unique", "unique"),
        option("Expires", "expires"),
        option("Tags", "tags"),
        option("Hidden", "hide"),
        option("Serializer", "serializer"),
    ]
    if job.typed:
        found.append(
            Option("Of plugins", _several([type(each).__name__ for each in job.typed]), True)
        )
    found.append(Option("Function", _place(job.function), True))
    return [each for each in found if each.text]


def _written(field: str, value: Any) -> str:
    match field:
        case "timeout" | "keep" | "keep_dead":
            return duration(_seconds(value))
        case "expires":
            return f"after {duration(_seconds(value))}"
        case "retry":
            return _retry(value)
        case "unique":
            return _unique(value)
        case "tags" | "hide":
            return _several(value)
    return number(value) if isinstance(value, int) else str(value)


def _seconds(value: float | timedelta) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def _several(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - MOST} more" if len(texts) > MOST else ""
    return ", ".join(map(str, texts[:MOST])) + more


def _retry(policy: Any) -> str:
    if isinstance(policy, Backoff):
        return _backoff(policy)
    if isinstance(policy, tuple | list):
        delays = _several([duration(_seconds(each)) for each in policy])
        return f"after {delays}" + (", and so on" if len(policy) > 1 else "")
    if isinstance(policy, int | float | timedelta):
        return f"after {duration(_seconds(policy))}"
    return f"as {_place(policy)} says"


def _backoff(policy: Backoff) -> str:
    growing = f", then × {policy.factor:g} up to {duration(policy.cap)}"
    return f"after about {duration(policy.first)}{growing if policy.factor > 1 else ''}"


def _unique(rule: bool | Unique) -> str:
    if not isinstance(rule, Unique):
        return "by all arguments, until it is finished"
    by = "by all arguments" if rule.by is None else f"by {_several([*rule.by])}"
    if rule.by is not None and not rule.by:
        by = "one of its name"
    until = "until it is claimed" if rule.scope == "queued" else "until it is finished"
    return f"{by}, {until}; a duplicate: {rule.on_conflict}"


def _place(function: Any) -> str:
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None) or type(function).__name__
    return f"{module}.{name}" if module else name
