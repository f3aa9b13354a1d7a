"""The small shops, as a reader runs them: a process of its own, whose files and rows are looked at
afterwards.
"""

import email
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from examples.shop import TABLES
from tests.support.schemas import Schemas
from tests.support.urls import with_parameter

ROOT = Path(__file__).parents[2]
PER = 2.0
"""The seconds of the rates in the example."""


class Mail(NamedTuple):
    """A mail as its file says it."""

    sent: float
    shop: str
    to: str
    subject: str


class Day(NamedTuple):
    """What a run has left behind."""

    shown: str
    report: str
    mails: Sequence[Mail]
    """In the order in which they were sent."""
    orders: Sequence[Any]
    items: Sequence[Any]
    jobs: Sequence[Any]

    def mails_of(self, shop: str) -> list[Mail]:
        return [mail for mail in self.mails if mail.shop == shop]


@pytest.fixture(scope="module")
def day(
    database_url: str, schemas: Schemas, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Day]:
    """A run in a schema for its jobs, and one beside it for the tables of the shops, in which there
    is an order of two days ago.
    """
    schema, folder = schemas.take(), tmp_path_factory.mktemp("shop")
    url = with_parameter(database_url, f"search_path={schema}_own")
    environment = {name: each for name, each in os.environ.items() if not name.startswith("SONIQ_")}
    environment |= {
        "SONIQ_DATABASE_URL": url,
        "SONIQ_SCHEMA": schema,
        "SHOP_FOLDER": str(folder),
    }
    with psycopg.connect(database_url, autocommit=True, row_factory=namedtuple_row) as connection:
        connection.execute(f"create schema {schema}_own")
        connection.execute(f"set search_path to {schema}_own")
        connection.execute(TABLES)
        connection.execute(
            "insert into shop_order values ('north', 'Old', 'teapot', 1000, now() - interval '49 h')"
        )
        ran = subprocess.run(
            [sys.executable, "-m", "examples.shop"],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert (ran.returncode, ran.stderr) == (0, "")
        report = max(folder.glob("report-*.txt"))  # the run may have been over midnight

        def rows(query: str) -> list[Any]:
            return connection.execute(query).fetchall()

        yield Day(
            ran.stdout,
            report.read_text(),
            sorted(read(path) for path in (folder / "mails").iterdir()),
            rows(
                "select shop, customer, price from shop_order where price < 1000 order by customer"
            ),
            rows("select shop, price, stock from shop_item where item = 'teapot'"),
            rows(
                "select name, status, headers::json -> 'soniq-limits' ->> 0 as key, started_at,"
                f" finished_at from {schema}.jobs order by id"
            ),
        )
    schemas.give_back(schema)


def read(path: Path) -> Mail:
    mail = email.message_from_bytes(path.read_bytes())
    shop = mail["From"].partition("@")[0]
    return Mail(path.stat().st_mtime, shop, mail["To"], mail["Subject"])


def most_within(seconds: float, mails: Sequence[Mail]) -> int:
    """The most of these mails that were sent in any so many seconds."""
    return max(sum(0 <= other.sent - one.sent < seconds for other in mails) for one in mails)


def test_all_that_was_enqueued_is_done(day: Day) -> None:
    assert {job.status for job in day.jobs} == {"done"}
    counts = Counter(job.name.rpartition(".")[2] for job in day.jobs)
    assert (counts["import_prices"], counts["send_mail"]) == (6, 24 + 3)
    assert len(day.mails) == 24 + 3


def test_it_says_what_it_does(day: Day) -> None:
    lines = day.shown.splitlines()
    assert "  Ada orders a teapot from north" in lines
    assert "  Di cannot: north is sold out, and there is no order and no mail" in lines
    counts = re.findall(r"^  second \d: (\d+) mails of (\w+)$", day.shown, re.MULTILINE)
    assert sum(int(count) for count, shop in counts if shop == "north") == 24 + 2
    assert "00:00:00+0" in next(line for line in lines if line.startswith("The report"))


def test_the_lists_of_a_shop_are_imported_in_their_order_and_never_overlap(day: Day) -> None:
    for shop in ("north", "south"):
        told = [line.strip() for line in day.shown.splitlines() if f"  {shop}-" in line]
        assert told == [f"{shop}-{number}.csv: 201 prices" for number in (1, 2, 3)]
        imports = [
            job for job in day.jobs if job.name.endswith("import_prices") and shop in job.key
        ]
        assert len(imports) == 3
        assert all(one.finished_at <= other.started_at for one, other in pairwise(imports))
    assert {(item.shop, item.price) for item in day.items} == {
        ("north", Decimal("22.90")),
        ("south", Decimal("22.90")),
    }


def test_no_more_mails_are_sent_than_the_rates_allow(day: Day) -> None:
    """The rate counts a start, and a file is written a moment later: half of the rate's time leaves
    a second for it.
    """
    assert most_within(PER / 2, day.mails) <= 20
    north = day.mails_of("north")
    assert most_within(PER / 2, north) <= 10
    assert north[-1].sent - north[0].sent > 1.5 * PER  # 26 mails: two times later than the first


def test_a_campaign_keeps_no_mail_of_the_other_shop_waiting(day: Day) -> None:
    (mail,) = day.mails_of("south")
    letters = [letter for letter in day.mails_of("north") if letter.subject == "Tea"]
    assert mail.sent < letters[20].sent  # of those that wait for the rate twice


def test_there_is_a_mail_for_each_order_and_none_for_the_one_that_was_refused(day: Day) -> None:
    ordered = [(order.shop, order.customer) for order in day.orders]
    assert ordered == [
        ("north", "Ada@example.org"),
        ("south", "Bo@example.org"),
        ("north", "Cy@example.org"),
    ]
    mails = [mail for mail in day.mails if mail.subject == "Your teapot"]
    assert sorted((mail.to, mail.shop) for mail in mails) == [(to, shop) for shop, to in ordered]
    assert {(item.shop, item.stock) for item in day.items} == {("north", 0), ("south", 1)}


def test_the_report_has_the_orders_of_the_day(day: Day) -> None:
    sums: Counter[str] = Counter()
    for order in day.orders:
        sums[order.shop] += order.price
    counts = Counter(order.shop for order in day.orders)
    said = [f"  {shop}: {counts[shop]} orders, {sums[shop]}\n" for shop in ("north", "south")]
    assert day.report == "".join(said) == "  north: 2 orders, 45.80\n  south: 1 orders, 22.90\n"
    assert day.report in day.shown
