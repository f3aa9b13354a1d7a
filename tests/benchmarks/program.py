"""Tables of cases that are measured in turns, shown in Markdown, and written into the
documentation.
"""

import argparse
import asyncio
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Protocol

from tests.benchmarks.apart import apart, empty_database, exit_on_sigterm
from tests.benchmarks.queues import machine
from tests.benchmarks.server import server
from tests.benchmarks.usage import MEGABYTE, Figures
from tests.docs.tables import place

DATABASE = "soniq_bench_case"
FEWEST = 10
"""Of jobs, in the smallest run."""

Cell = Callable[[Figures, Figures], str]
"""What a row shows in a column: of its own figures, and those of the table's first row."""


class Case(Protocol):
    """A row. What is measured runs in another process, so that it can be pickled."""

    @property
    def label(self) -> str: ...

    async def prepare(self, url: str, size: int) -> None:
        """Make the tables in an empty database, and what is in them."""

    async def measure(self, url: str, size: int) -> Figures:
        """Do it, and return the figures of this time."""


@dataclass(frozen=True)
class Table:
    """Cases that are compared with the first of them."""

    name: str
    title: str
    size: int
    unit: str
    cases: Sequence[Case]
    columns: Sequence[tuple[str, Cell]]
    rounds: int | None = None
    """How often, where it is not as often as the others."""


def number(name: str, digits: int = 0, unit: str = "") -> Cell:
    """A figure as it is."""
    return lambda own, first: f"{own[name]:,.{digits}f}{unit}"


def ratio(name: str) -> Cell:
    """A figure as a part of the first row's."""
    return lambda own, first: f"{own[name] / first[name]:.2f}" if first[name] else "-"


def megabytes(name: str) -> Cell:
    return lambda own, first: f"{own[name] / MEGABYTE:,.1f} MB"


# --- measuring -----------------------------------------------------------------------------------


def measured(url: str, table: Table, rounds: int, size: int) -> list[Figures]:
    """The medians of each case. The rounds go forwards and backwards in turn."""
    found: list[list[Figures]] = [[] for _ in table.cases]
    for round_ in range(rounds):
        order = list(enumerate(table.cases))
        for place_, case in order if round_ % 2 == 0 else reversed(order):
            with empty_database(url, DATABASE) as own:
                asyncio.run(case.prepare(own, size))
                found[place_].append(apart(case.measure, own, size))
    return [
        {name: median(each[name] for each in of_case) for name in of_case[0]} for of_case in found
    ]


def markdown(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[title, *columns], ["---"] * (len(columns) + 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def shown(table: Table, figures: Sequence[Figures]) -> str:
    """A table in Markdown."""
    rows = [
        [case.label, *(cell(own, figures[0]) for _, cell in table.columns)]
        for case, own in zip(table.cases, figures, strict=True)
    ]
    return markdown(table.title, [name for name, _ in table.columns], rows)


def circumstances(url: str, run: str) -> str:
    """The line below a table: what was run, when, and with which versions."""
    about = machine.about(url, None, 0, 0)
    command = ["git", "show", "--no-patch", "--format=%cs"]
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    source = f"the source of {found.stdout.strip()}" if found.returncode == 0 else "no commit"
    postgresql = about["postgresql"].partition(":")[0]
    day, load = about["date"].partition(" ")[0], about["load before"].split()[0]
    return (
        f"\n{run}; {day}, {source}, PostgreSQL {postgresql}, Python {about['python']}; load of the"
        f" machine before: {load}.\n"
    )


# --- the command ---------------------------------------------------------------------------------


def parser(about: str | None, names: Sequence[str]) -> argparse.ArgumentParser:
    def chosen(text: str) -> list[str]:
        for each in text.split(","):
            if each not in names:
                raise argparse.ArgumentTypeError(f"{each!r} is none of {', '.join(names)}")
        return text.split(",")

    made = argparse.ArgumentParser(description=about)
    made.add_argument("--rounds", type=int, help="how often each case is measured (default: 3)")
    made.add_argument("--part", type=float, default=1.0, help="a part of the sizes, such as 0.1")
    made.add_argument("--only", type=chosen, default=list(names), help=f"of {','.join(names)}")
    made.add_argument("--write", action="store_true", help="write into the documentation, too")
    return made


def run(tables: Sequence[Table], arguments: argparse.Namespace, page: Path) -> None:
    """Measure those that are asked for, print each when it is there, and write it if asked to."""
    exit_on_sigterm()
    with server() as url:
        for table in tables:
            if table.name not in arguments.only:
                continue
            rounds = arguments.rounds or table.rounds or 3
            size = max(FEWEST, round(table.size * arguments.part))
            said = f"{f'Medians of {rounds} rounds' if rounds > 1 else 'One round'}"
            below = circumstances(url, f"{said}, {size:,} {table.unit}")
            tell(
                table.name,
                shown(table, measured(url, table, rounds, size)) + below,
                page,
                arguments,
            )


def tell(name: str, text: str, page: Path, arguments: argparse.Namespace) -> None:
    """Print what was measured, and write it into its place on a page if asked to."""
    print(f"{name}\n\n{text}", flush=True)
    if arguments.write:
        before, _, after = place(page, name)
        page.write_text(before + text + after, encoding="utf-8")
