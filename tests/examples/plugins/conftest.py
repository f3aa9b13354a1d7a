"""Jobs that run to their end, a receiver of webhooks, and all that stands in the database."""

from collections.abc import Awaitable, Callable, Iterator

import asyncpg
import pytest

from soniq import JobStatus
from tests.support.jobs import run_job

from .receiver import Receiver, receivers

Run = Callable[..., Awaitable[JobStatus]]
"""`run(app, job, **arguments)`: enqueue, work off all that is due, and how the job stands then."""

Stored = Callable[[], Awaitable[str]]
"""`await stored()`: every row of this test's schema as text, with bytes as the text that they may
be.
"""


@pytest.fixture
def run() -> Run:
    return run_job


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks on loopback."""
    with receivers() as receiver:
        yield receiver


@pytest.fixture
def stored(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> Stored:
    async def stored() -> str:
        tables = await connection.fetch(
            "select relname from pg_class where relnamespace = $1::regnamespace and relkind in"
            " ('r', 'p')",
            schema,
        )
        rows = [
            row["text"]
            for table in tables
            for row in await connection.fetch(
                # \x: bytes in hex, written as the characters that they are
                "select (select string_agg(coalesce(regexp_replace(value, '^\\\\x', ''), ''),"
                " E'\\n') from jsonb_each_text(to_jsonb(t))) as text from"
                f" {schema}.{table['relname']} t"
            )
        ]
        lines = "\n".join(filter(None, rows)).splitlines()
        return "\n".join(f"{line}\n{_unhexed(line)}" for line in lines)

    return stored


def _unhexed(line: str) -> str:
    try:
        return bytes.fromhex(line).decode("latin-1")
    except ValueError:
        return ""
