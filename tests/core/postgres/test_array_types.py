"""What sessions know of arrays is what the server says of them, and none of them asks for it."""

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from soniq import Search, Soniq
from soniq.postgres.array_types import ROWS

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

ARRAYS = [
    "bool[] '{t,f,null}'", "bytea[] array['\\x00ff'::bytea]", "int2[] '{-1,2}'",
    "int4[] '{{1,2},{3,4}}'", "int8[] '{9000000000}'", "float4[] '{0.5}'",
    "float8[] '{NaN,1e300}'", "timestamp[] '{2026-01-02 03:04}'",
    "date[] '{infinity,2026-01-02}'", "timestamptz[] '{2026-01-02 03:04+05}'",
    "numeric[] '{1.50}'", "uuid[] '{00000000-0000-0000-0000-000000000001}'",
    "jsonb[] '{1,null}'", "name[] '{a,b}'",
]  # fmt: skip


async def test_the_server_says_the_same(connection: "Connection") -> None:
    asked: Any = connection
    rows, _ = await asked._introspect_types(list(ROWS), None)
    said = {row["oid"]: row for row in rows}
    for number, row in ROWS.items():
        assert {name: said[number][name] for name in row} == row


@pytest.mark.parametrize("array", ARRAYS)
async def test_arrays_arrive_as_over_any_connection(
    app: Soniq, connection: "Connection", array: str
) -> None:
    await app.start()
    type_, literal = array.split(" ", 1)
    expected = await connection.fetchval(f"select {literal}::{type_}")
    async with app._database.acquire() as own:
        arrived = await own.fetchval(f"select $1::{type_}", expected)
        back = await own.fetchval(f"select $1::{type_}::text = {literal}::{type_}::text", expected)
    assert (str(arrived), back) == (str(expected), True)


async def test_no_session_asks(app: Soniq, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    ask_really: Any = asyncpg.Connection._introspect_types  # type: ignore[attr-defined]

    async def ask(self: object, numbers: object, timeout: object) -> Any:
        asked.append(numbers)
        return await ask_really(self, numbers, timeout)

    monkeypatch.setattr(asyncpg.Connection, "_introspect_types", ask)

    @app.job
    async def double(number: int) -> int:
        return number * 2

    async with app:
        job_id = await app.enqueue(double, number=4)
        await app.run_worker(run_once=True)
        assert await app.get_result(job_id) == 8
        assert (await app.search(Search())).jobs
    assert asked == []


@pytest.mark.parametrize("pgbouncer", [True, False])
async def test_types_of_users_are_asked_for(
    make_app: Any, connection: "Connection", schema: str, pgbouncer: bool
) -> None:
    app = make_app(pgbouncer=pgbouncer)
    await app.start()
    await connection.execute(f"create type {schema}.mood as enum ('glad', 'sad')")
    async with app._database.acquire() as own:
        found = await own.fetchrow(f"select $1::uuid[] as u, '{{glad}}'::{schema}.mood[] as m", [])
    assert tuple(found) == ([], ["glad"])
