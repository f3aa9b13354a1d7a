"""Rows that no worker could read, or count on from: they cannot be written, and enqueuers cannot
write most of it.
"""

from typing import TYPE_CHECKING

import asyncpg
import pytest

from soniq import Soniq
from tests.conftest import MakeApp

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

INSERT = """
insert into {schema}.job (id, name, max_attempts, serializer, keep, args, {column})
values (gen_random_uuid(), 'job', 5, 'json', 60, '{{}}', {value})
"""

UNREADABLE = [
    ("created_at", "'20000-01-01'"),
    ("created_at", "'-infinity'"),
    ("created_at", "'4000-01-01 BC'"),
    ("scheduled_at", "'infinity'"),
    ("scheduled_at", "'9999-12-31 23:00-12:00'"),
    ("scheduled_at", "'0044-03-15 BC'"),
    ("expires_at", "'infinity'"),
    ("claim", "9223372036854775807"),
    ("claim", "-1"),
    ("attempt", "32767"),
    ("timeout", "'nan'"),
    ("timeout", "0"),
]


@pytest.mark.parametrize(("column", "value"), UNREADABLE)
async def test_a_row_that_a_worker_could_not_read_cannot_be_written(
    app: Soniq, connection: "Connection", schema: str, column: str, value: str
) -> None:
    await app.start()
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute(INSERT.format(schema=schema, column=column, value=value))
    for keep in ("'nan'", "-1", "'infinity'"):
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(
                INSERT.format(schema=schema, column="tags", value="null").replace(
                    " 60,", f" {keep},"
                )
            )


READABLE = [
    ("created_at", "'0001-01-01 00:00+00'"),
    ("created_at", "'9999-12-31 23:59:59.999999+00'"),
    ("expires_at", "'9999-12-31 23:59:59.999999+00'"),
    ("claim", "4611686018427387000"),
    ("timeout", "1e300"),
    ("headers", "'[1, 2]'"),
    ("headers", "'\"text\"'"),
    ("headers", '\'{"a": {"b": [null]}}\''),
    ("tags", "array[null, 'a']"),
    ("tags", "array[array['a'], array['b']]"),
]


@pytest.mark.parametrize(("column", "value"), READABLE)
async def test_an_odd_row_ends_alone(
    make_app: MakeApp, connection: "Connection", schema: str, column: str, value: str
) -> None:
    app = make_app()
    ran = []

    @app.job(name="job")
    async def job() -> None: ...

    @app.job(name="good")
    async def good(number: int) -> None:
        ran.append(number)

    await app.start()
    await connection.execute(INSERT.format(schema=schema, column=column, value=value))
    await app.enqueue_many(good, [{"number": number} for number in range(3)])
    await app.run_worker(run_once=True)
    assert sorted(ran) == [0, 1, 2]
    rows = await connection.fetch(f"select name, status from {schema}.history")
    assert len(rows) == 4
    assert {row["status"] for row in rows if row["name"] == "good"} == {"done"}
    assert len(await app.jobs()) == 4
