"""The text of the search box: `status:dead name:mail.* queue:a,b error:ValueError finished:1h`."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from soniq import InvalidJobId, InvalidOption, Search

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
TIMES = ("created", "scheduled", "started", "finished")
AGE = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
WORD = re.compile(
    r'(?:(?P<key>[^\s":]+):)?(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s"]+|(?=\s|$)))\s*',
    re.DOTALL,
)
"""`key:value`, `key:"a value"`, `"a value"` or `value`."""
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
WRONG: Mapping[str, str] = {
    "statuses": "status: is queued, held, running, done, dead or cancelled; order:finished is of"
    " those that are dead or cancelled, order:due of queued ones, order:started of running ones",
    "order": "order: is newest, finished, due or started",
    "worker_id": "worker: takes the whole id of a worker",
    "cursor": "This page of the list is not there: begin with the first",
}
"""What cannot be searched for, in the words of the search box, by the option of a `Search`."""


class NotUnderstood(Exception):
    """A word of the search box that says nothing; its text is for the user."""


@dataclass
class Query:
    """A search as its text says it."""

    given: dict[str, Any] = field(default_factory=dict)
    secret: bool = False
    """Whether it looks into what belongs to jobs: arguments, headers or errors."""
    job_id: str | None = None
    """The whole id of a job, where that is all it says."""

    def search(self) -> Search:
        return Search(**self.given)


def parsed(text: str, now: datetime | None = None) -> Query:
    """What a text searches for. Raises `NotUnderstood`."""
    query, now = Query(), now or datetime.now(UTC)
    if ID.fullmatch(text.strip()):
        query.job_id = text.strip().lower()
        return query
    for key, values in _words(text):
        if key is None:
            _add(query, "error_text", values[0])
        elif not values[0]:
            raise NotUnderstood(f"what is {key}: to be?")
        elif key.startswith(("args.", "headers.")):
            which, _, name = key.partition(".")
            _nested(query.given.setdefault(which, {}), name.split("."), _json(",".join(values)))
            query.secret = True
        elif key in TIMES:
            _add(query, key, _range(values[0], now))
        elif key in WORDS:
            _add(query, *WORDS[key](values))
        else:
            known = ", ".join(sorted([*WORDS, *TIMES, "args.…", "headers.…"]))
            raise NotUnderstood(f"there is no {key}: here; there are {known}")
    return query


def in_words(error: InvalidOption | InvalidJobId) -> str:
    """Why a search that was understood cannot be, in the words of the search box."""
    option = error.option if isinstance(error, InvalidOption) else "worker_id"  # the only id
    return WRONG.get(option, str(error).replace(f"{option}=", f"{option}:"))


def quoted(value: str) -> str:
    """A value as it is written in a search, whatever it has in it."""
    return '"' + re.sub(r'(["\\\\])', r"\\\1", value) + '"'


def _words(text: str) -> Iterator[tuple[str | None, list[str]]]:
    """The key of each word, and its values: those of a list, or the one in quotes."""
    at, text = 0, text.strip()
    while at < len(text):
        word = WORD.match(text, at)
        if word is None:
            raise NotUnderstood('a " is not closed')
        if word["quoted"] is not None:
            yield word["key"], [re.sub(r"\\(.)", r"\1", word["quoted"], flags=re.DOTALL)]
        else:
            yield word["key"], word["plain"].split(",") if word["key"] else [word["plain"]]
        at = word.end()


def _add(query: Query, name: str, value: object) -> None:
    if name in query.given:
        raise NotUnderstood(f"{name} is there twice")
    query.given[name] = value
    query.secret |= name in ("error_text", "args_text")


def _nested(into: dict[str, Any], names: list[str], value: object) -> None:
    for name in names[:-1]:
        into = into.setdefault(name, {})
        if not isinstance(into, dict):
            raise NotUnderstood(f"{name} is there twice")
    if names[-1] in into:
        raise NotUnderstood(f"{names[-1]} is there twice")
    into[names[-1]] = value


def _json(text: str) -> Any:
    """A JSON value; a text that is none stands for itself."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return text


def _range(text: str, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Two times: `1h` is since an hour ago, `1d..1h` from a day until an hour ago; so are dates."""
    first, dots, last = text.partition("..")
    return _time(first, now), _time(last, now) if dots else None


def _time(text: str, now: datetime) -> datetime | None:
    if not text:
        return None
    if found := AGE.fullmatch(text):
        try:
            return now - timedelta(**{UNITS[found[2]]: int(found[1])})
        except OverflowError:
            raise NotUnderstood(f"{text} is too long ago") from None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise NotUnderstood(f"{text} is no time: write 2h, 3d or 2030-12-31T23:59") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _names(values: list[str]) -> tuple[str, object]:
    if len(values) == 1 and values[0].endswith("*"):
        return "name_prefix", values[0][:-1]
    return "names", values


def _priorities(values: list[str]) -> tuple[str, object]:
    try:
        return "priorities", [int(each) for each in values]
    except ValueError:
        raise NotUnderstood(f"{','.join(values)} is no priority") from None


def _several(name: str) -> Callable[[list[str]], tuple[str, object]]:
    return lambda values: (name, values)


def _one(name: str) -> Callable[[list[str]], tuple[str, object]]:
    return lambda values: (name, ",".join(values))


WORDS: Mapping[str, Callable[[list[str]], tuple[str, object]]] = {
    "status": _several("statuses"),
    "name": _names,
    "queue": _several("queues"),
    "tag": _several("tags"),
    "priority": _priorities,
    "worker": _one("worker_id"),
    "key": _one("dedup_label"),
    "error": _one("error_type"),
    "args": _one("args_text"),
    "order": _one("order"),
}
"""What a key says, of its values."""
