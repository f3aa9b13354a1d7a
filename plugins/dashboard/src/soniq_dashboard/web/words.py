"""A search as words, as the search box takes them: the other way around than `query`."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from soniq import Search

from .query import TIMES, WORD, quoted

PLAIN = re.compile(r'[^\s",\\*][^\s",\\]*')
"""A value that needs no quotes."""
NESTED = 6
"""How deep values are written as `args.a.b:`."""

LISTS = {
    "statuses": "status",
    "names": "name",
    "queues": "queue",
    "tags": "tag",
    "priorities": "priority",
}
TEXTS = {
    "worker_id": "worker",
    "dedup_label": "key",
    "error_type": "error",
    "args_text": "args",
}


def words_of(search: Search, args: object = None, headers: object = None) -> str:
    """The words of a search; `args`, `headers`: what to write for its own."""
    return " ".join(_words(search, args, headers))


def narrowed(text: str, key: str, value: str) -> str:
    """A search that was understood with one word more, in place of those with its key."""
    kept, at = list[str](), 0
    text = text.strip()
    while word := WORD.match(text, at):
        at = word.end()
        if word["key"] != key and word[0]:
            kept.append(word[0].strip())
        if at >= len(text):
            break
    return " ".join([*kept, f"{key}:{_one(value)}"])


def _words(search: Search, args: object, headers: object) -> Iterator[str]:
    for field, key in LISTS.items():
        if (values := getattr(search, field)) is not None:
            yield f"{key}:{_several([*values])}"
    if search.name_prefix is not None:
        yield f"name:{search.name_prefix}*"
    for field, key in TEXTS.items():
        if (value := getattr(search, field)) is not None:
            yield f"{key}:{_one(value)}"
    if search.error_text is not None:
        yield quoted(search.error_text)

    for key, given in (("args", args or search.args), ("headers", headers or search.headers)):
        if given is not None:
            yield from _nested(key, given, 0)
    yield from _times(search)
    if search.order != "newest":
        yield f"order:{search.order}"


def _times(search: Search) -> Iterator[str]:
    for key in TIMES:
        since, before = getattr(search, key) or (None, None)
        if before is not None:
            yield f"{key}:{_time(since)}..{_time(before)}"
        elif since is not None:
            yield f"{key}:{_time(since)}"


def _several(values: list[Any]) -> str:
    if len(values) == 1:
        return _one(str(values[0]))
    return ",".join(map(str, values))


def _one(value: str) -> str:
    return value if PLAIN.fullmatch(value) else quoted(value)


def _nested(key: str, value: object, depth: int) -> Iterator[str]:
    """Each value of a mapping, with the names that lead to it."""
    if isinstance(value, Mapping) and value and depth < NESTED:
        for name, each in value.items():
            yield from _nested(f"{key}.{name}", each, depth + 1)
    else:
        yield f"{key}:{_json(value)}"


def _json(value: object) -> str:
    """A JSON value; a text that is none as itself."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return _one(value)
    return _one(json.dumps(value, ensure_ascii=False, default=str))


def _time(at: datetime | None) -> str:
    if at is None:
        return ""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
