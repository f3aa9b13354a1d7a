"""The statements on the plugin's tables, each in a file of its own."""

import re
from functools import cache
from importlib.resources import files

from .durations import BOUNDS

NAME = "dashboard"
"""The plugin's name."""

OF_BUCKETS = re.compile(r"\{(added|summed):(\w+)\}")
"""What stands in a statement for an expression for each bucket: PostgreSQL has no sum of arrays,
and what takes them apart and together takes ten times as long.
"""
PLACES = range(1, len(BOUNDS) + 2)


@cache
def statement(schema: str, name: str) -> str:
    """A statement of queries/, for the plugin's schema."""
    text = (files(__package__) / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    return OF_BUCKETS.sub(_of_buckets, text).replace("{schema}", schema)


def _of_buckets(match: re.Match[str]) -> str:
    """`added`: those of a row that is there and of a new one; `summed`: those of many rows."""
    how, column = match.groups()
    if how == "summed":
        sums = (f"coalesce(sum({column}[{place}]), 0)::int8" for place in PLACES)
        return f"array[{', '.join(sums)}] as {column}"

    kept, new = f"kept.{column}", f"excluded.{column}"
    sums = (f"coalesce({kept}[{each}], 0) + coalesce({new}[{each}], 0)" for each in PLACES)
    return f"(array[{', '.join(sums)}])[1:greatest(cardinality({kept}), cardinality({new}))]"


def migration(name: str) -> str:
    """A file of migrations/."""
    return (files(__package__) / "migrations" / f"{name}.sql").read_text(encoding="utf-8")
