"""What the driver has to know of arrays, so that it need not ask for it in each session."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import asyncpg

ELEMENTS = {
    1000: ("bool", 16), 1001: ("bytea", 17), 1003: ("name", 19), 1005: ("int2", 21),
    1007: ("int4", 23), 1016: ("int8", 20), 1021: ("float4", 700), 1022: ("float8", 701),
    1115: ("timestamp", 1114), 1182: ("date", 1082), 1185: ("timestamptz", 1184),
    1231: ("numeric", 1700), 2951: ("uuid", 2950), 3807: ("jsonb", 3802),
}  # fmt: skip
"""The numbers of array types, with name and number of the type of their elements. Those of
PostgreSQL's own types are the same in all versions.
"""


def _row(number: int, name: str, element: int) -> Mapping[str, Any]:
    """What the driver reads of its query's row for an array type."""
    return {
        "oid": number, "ns": "pg_catalog", "name": f"_{name}", "kind": b"b", "basetype": None,
        "elemtype": element, "elemdelim": b",", "range_subtype": None, "attrtypoids": None,
    }  # fmt: skip


ROWS = {number: _row(number, *element) for number, element in ELEMENTS.items()}


class _NotAsked(NamedTuple):
    """Stands for the statement that would have asked, and taken the place of an unnamed one."""

    name: str = "not asked"


class KnowsArrays(asyncpg.Connection):
    """A connection that does not ask the server of arrays of PostgreSQL's usual types.

    The driver itself knows `text[]`, and asks in each session for `uuid[]` and the others: some
    round trips, and a query that takes longer than all that a session begins with.
    """

    async def _introspect_types(self, numbers: Iterable[int], timeout: float | None) -> Any:
        unknown = [number for number in numbers if number not in ROWS]
        rows = [ROWS[number] for number in numbers if number in ROWS]
        if not unknown:
            return rows, _NotAsked()
        asked, statement = await super()._introspect_types(unknown, timeout)  # type: ignore[misc]
        return [*rows, *asked], statement
