"""Counts the statements that a page asks the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import pytest

FREE = (
    "select pg_notify",
    "begin",
    "commit",
    "rollback",
    "set ",
    "reset",
    "select pg_advisory_unlock_all",
    "close",
    "unlisten",
    "savepoint",
    "release",
)
"""What opens and ends transactions and sets their limits, and what an enqueue sends later."""


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The statements that asyncpg sends meanwhile, but for those that are `FREE`."""
    seen: list[str] = []
    execute, run = asyncpg.Connection.execute, asyncpg.Connection._execute  # type: ignore[attr-defined]

    def note(text: str) -> None:
        if not text.strip().lower().startswith(FREE):
            seen.append(text)

    async def executing(self: Any, query: str, *args: Any, **options: Any) -> Any:
        if not args:
            note(query)
        return await execute(self, query, *args, **options)

    async def running(self: Any, query: str, *args: Any, **options: Any) -> Any:
        note(query)
        return await run(self, query, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "execute", executing)
        patch.setattr(asyncpg.Connection, "_execute", running)
        yield seen
