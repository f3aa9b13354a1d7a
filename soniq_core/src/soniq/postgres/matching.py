"""From a search to SQL: the conditions that a job must meet."""

from collections.abc import Mapping
from typing import Any

import msgspec

from soniq.ids import parse_id
from soniq.search import Range, Search
from soniq.status import Status

JSON = "json"
"""The serializer whose bytes are looked into."""


class Values:
    """The values of a statement, each called for gives its place in the text."""

    def __init__(self) -> None:
        self.all: list[object] = []

    def __call__(self, value: object, kind: str) -> str:
        self.all.append(value)
        return f"${len(self.all)}::{kind}"


def conditions(
    search: Search, statuses: tuple[Status, ...], table: str, args: str, values: Values
) -> list[str]:
    """What a row of a table meets that matches; `statuses` are those it may have there, `args` is
    what makes JSON of its arguments.
    """
    all_there = ("queued", "held", "running") if table == "job" else ("done", "dead", "cancelled")
    found = [] if statuses == all_there else [_any("status", list(statuses), values)]

    for column, chosen in (("name", search.names), ("queue", search.queues)):
        if chosen is not None:
            found.append(_any(column, list(chosen), values))
    if search.priorities is not None:
        found.append(f"priority = any({values(list(search.priorities), 'smallint[]')})")
    if search.tags:
        found.append(f"tags @> {values(list(search.tags), 'text[]')} and tags is not null")

    for sql, value, kind in (
        ("starts_with(name, {})", search.name_prefix, "text"),
        ("worker_id = {}", search.worker_id and parse_id(search.worker_id), "uuid"),
        ("dedup_label = {}", search.dedup_label, "text"),
        ("error ->> 'type' = {}", search.error_type, "text"),
        ("strpos(error ->> 'message', {}) > 0", search.error_text, "text"),
        ("position({} in args) > 0", search.args_text and search.args_text.encode(), "bytea"),
        ("headers @> {}", _json(search.headers), "jsonb"),
    ):
        if value is not None:
            found.append(sql.format(values(value, kind)))
    if search.args is not None:
        wanted = values(_json(search.args), "jsonb")
        found.append(f"case when serializer = '{JSON}' then {args} @> {wanted} end")

    return [*found, *_times(search, values)]


def _times(search: Search, values: Values) -> list[str]:
    found: list[str] = []
    for column, times in (
        ("created_at", search.created),
        ("scheduled_at", search.scheduled),
        ("started_at", search.started),
        ("finished_at", search.finished),
    ):
        found += between(column, times, values)
    return found


def between(column: str, times: Range | None, values: Values) -> list[str]:
    """What a time meets that is within a range."""
    since, before = times or (None, None)
    found = [] if since is None else [f"{column} >= {values(since, 'timestamptz')}"]
    return found if before is None else [*found, f"{column} < {values(before, 'timestamptz')}"]


def _any(column: str, chosen: list[str], values: Values) -> str:
    return f"{column} = any({values(chosen, 'text[]')})"


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
