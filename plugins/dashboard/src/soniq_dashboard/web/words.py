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
WRITTEN = re.compile(r'[^\s"]+|"(?:[^"\\]|\\.)*"', re.DOTALL)
"""A value that is written as it is to be."""
LISTED = re.compile(r"\s*,\s*")
"""What is between two values of a list, as somebody writes it."""
FIELDS = ("status", "name", "queue", "tag", "error", "says", "args", "created", "finished")
"""The fields of the form; `says`: words without a key."""
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
    kept = [f"{had}{raw}" for had, raw in _split(text) if had != f"{key}:"]
    return " ".join([*kept, f"{key}:{_one(value)}"])


def fields_of(text: str) -> Mapping[str, str]:
    """What the fields of a form have of a search, by their names: of each key its value as it is
    written, of arguments all words of them.
    """
    found = dict.fromkeys(FIELDS, "")
    for had, raw in _split(text):
        name, rest = _field(had)
        if name is not None:
            found[name] = f"{found[name]} {rest}{raw}".strip()
    return found


def filtered(text: str, fields: Mapping[str, str]) -> str:
    """A search with what the fields of a form say, in place of what it said of that."""
    kept = [f"{had}{raw}" for had, raw in _split(text) if _field(had)[0] not in fields]
    for name, given in fields.items():
        if name == "args":
            kept += [f"args.{had}{raw}" if had else f"args:{raw}" for had, raw in _split(given)]
        elif given.strip():
            value = LISTED.sub(",", given.strip()) if name in LISTS.values() else given.strip()
            written = value if WRITTEN.fullmatch(value) else quoted(value)
            kept.append(written if name == "says" else f"{name}:{written}")
    return " ".join(kept)


def _field(had: str) -> tuple[str | None, str]:
    """The field in which a word stands that begins so, and what of that is written there."""
    if not had:
        return "says", ""
    key, _, rest = had.removesuffix(":").partition(".")
    known = key in FIELDS and key != "says" and (key == "args" or not rest)
    return (key if known else None), rest and f"{rest}:"


def _split(text: str) -> Iterator[tuple[str, str]]:
    """The words of a search, each in two: its key with the colon, or nothing; and the rest."""
    text, at = text.strip(), 0
    while at < len(text) and (word := WORD.match(text, at)):
        key = f"{word['key']}:" if word["key"] else ""
        yield key, word[0].strip()[len(key) :]
        at = word.end()


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
