"""The programs that measure what a user pays, and how that scales, run; the pages have a place for
each of their tables.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks import costs, latency, scale
from tests.benchmarks.apart import empty_database
from tests.benchmarks.program import Table, parser, shown, tell
from tests.docs.tables import place

SMALL = 20
"""Jobs, or seconds; and finished rows."""

PAGES = {
    **{table.name: costs.PAGE for table in costs.TABLES},
    **{table.name: scale.PAGE for table in scale.tables(SMALL)},
    latency.NAME: latency.PAGE,
}


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time for what is only more exact the longer it takes."""
    monkeypatch.setattr(costs, "SETTLED", 0.0)
    monkeypatch.setattr(scale, "ASKED", 0.2)
    monkeypatch.setattr(scale, "TURNS", 1)


@pytest.mark.parametrize(
    "table", [*costs.TABLES, *scale.tables(SMALL)], ids=lambda table: table.name
)
def test_each_table_can_be_measured(table: Table, database_url: str) -> None:
    size = 1 if table.unit.startswith("seconds") else SMALL
    few = [case for case in table.cases if getattr(case, "count", 1) < 3][:4]  # not ten processes
    with empty_database(database_url, f"soniq_bench_{table.name}") as url:
        figures = []
        for case in few:
            asyncio.run(case.prepare(url, size))
            figures.append(asyncio.run(case.measure(url, size)))

    lines = shown(replace(table, cases=few), figures).splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == [case.label for case in few]
    assert len({line.count("|") for line in lines}) == 1


def test_latency_can_be_measured(database_url: str) -> None:
    found = latency.measure(database_url, rounds=1, seconds=0.2)
    assert [line.split(" | ")[0] for line in found.splitlines()[2:]] == [
        f"| {share:g} of the peak" for share in latency.SHARES
    ]


@pytest.mark.parametrize("name", PAGES)
def test_each_table_has_a_place_that_is_written(name: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_bytes(PAGES[name].read_bytes())
    tell(name, "a table\n", page, parser(None, [name]).parse_args(["--write"]))
    assert place(page, name)[1] == "a table\n"
