"""A day of load as the collector would have counted it, and jobs of all kinds: for screenshots and
for tests of what pages cost.
"""

import math
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Any, TypeVar

import asyncpg

from soniq import Search, Soniq
from soniq_dashboard.durations import BOUNDS
from soniq_dashboard.operations import Act, begin, frozen, stop, time_of
from soniq_dashboard.running import run_batch

F = TypeVar("F", bound=Callable[..., Any])

NAMES = {
    "mail.send": ("mail", 320, 0.12, 0.004),
    "invoice.render": ("documents", 60, 1.9, 0.002),
    "customer.sync": ("sync", 140, 0.45, 0.03),
    "search.index": ("default", 210, 0.06, 0.0),
    "report.monthly": ("reports", 0.4, 240.0, 0.01),
    "image.resize": ("media", 90, 0.8, 0.006),
}
"""By name: the queue, jobs a minute at most, seconds of each, and which share fails."""

SERIES = """insert into {schema}_dashboard.series
    (tier, at, queue, name, done, dead, retry, took, waited, took_buckets, waited_buckets,
        cancelled, snooze, lost, stopped)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, 0, 0, 0) on conflict do nothing"""
GAUGE = """insert into {schema}_dashboard.gauge
    (at, queue, waiting, scheduled, running, held, oldest, workers, slots, busy)
    values ($1, $2, $3, $4, $5, $6, $7, 4, 80, $5) on conflict do nothing"""


def buckets(chance: random.Random, jobs: int, seconds: float) -> list[int]:
    """How long so many jobs took that take so long in the middle."""
    counts = [0] * (len(BOUNDS) + 1)
    for _ in range(min(jobs, 60)):
        took = seconds * math.exp(chance.gauss(0, 0.6))
        place = next((n for n, bound in enumerate(BOUNDS) if took <= bound), len(BOUNDS))
        counts[place] += 1
    most = max(1, min(jobs, 60))
    return ended([each * jobs // most for each in counts])


def ended(counts: list[int]) -> list[int]:
    """Counts as they are kept: the empty ones at the end are left out."""
    return counts[: max((place for place, count in enumerate(counts, 1) if count), default=0)]


def load(at: datetime) -> float:
    """How much of the most there is at a time of the day: a morning, a noon, a quiet night."""
    hour = at.hour + at.minute / 60
    return 0.12 + 0.88 * float(max(0.0, math.sin((hour - 5) / 16 * math.pi)) ** 1.4)


def minutes(until: datetime) -> Iterator[datetime]:
    start = until.replace(second=0, microsecond=0) - timedelta(days=1)
    for minute in range(24 * 60 + 1):
        yield start + timedelta(minutes=minute)


async def write_day(
    connection: "asyncpg.Connection[asyncpg.Record]", schema: str, until: datetime | None = None
) -> None:
    """A day's rows, up to a time, in all three tiers."""
    chance, until = random.Random(7), until or datetime.now(UTC)
    rows: dict[tuple[int, datetime, str, str], list[object]] = {}
    gauges = []
    for at in minutes(until):
        stall = 1.0 if 0.62 < (at - until + timedelta(days=1)) / timedelta(days=1) < 0.645 else 0.0
        waiting = 0
        for name, (queue, most, seconds, fails) in NAMES.items():
            jobs = round(most * load(at) * chance.uniform(0.85, 1.15) * (1 - 0.7 * stall))
            failed = sum(chance.random() < fails for _ in range(min(jobs, 400)))
            wait = 0.01 + 30 * stall + 0.2 * load(at) ** 4
            took, waited = buckets(chance, jobs, seconds), buckets(chance, jobs, wait)
            for tier in (1, 10, 60):
                begin = at - timedelta(minutes=at.minute % tier)
                row = rows.setdefault((tier, begin, queue, name), [0, 0, 0, 0.0, 0.0, [], []])
                for place, more in enumerate(
                    (jobs - failed, failed // 3, failed - failed // 3, jobs * seconds, jobs * wait)
                ):
                    row[place] += more  # type: ignore[operator]
                for place, more_buckets in ((5, took), (6, waited)):
                    both = zip_longest(row[place], more_buckets, fillvalue=0)  # type: ignore[call-overload]
                    row[place] = [a + b for a, b in both]
            waiting += int(jobs * stall * 40 + jobs * wait / 60)
        running = int(64 * load(at) * chance.uniform(0.8, 1.1))
        gauges.append((at, "", waiting, 40, running, 3, 30.0 * stall + 0.3 * load(at)))

    await connection.executemany(
        SERIES.format(schema=schema), [(*key, *row) for key, row in rows.items()]
    )
    await connection.executemany(GAUGE.format(schema=schema), gauges)
    await connection.execute(
        f"update {schema}_dashboard.gauge set deploy = 'workers that know 6 jobs' where at = $1",
        gauges[-420][0],
    )


def _in_a_shop(handler: F) -> F:
    """A handler that says in tracebacks that it is in a file of a shop."""
    handler.__code__ = handler.__code__.replace(co_filename="/srv/shop/mail.py")
    return handler


async def write_jobs(app: Soniq) -> None:
    """Jobs of all kinds; those that fail do so when a worker runs them."""

    @app.job(name="mail.send", queue="mail", max_attempts=2, hide=["token"], retry=0.0)
    @_in_a_shop
    async def send(to: str, template: str, token: str = "t") -> str:
        if to.startswith("nobody"):
            raise ValueError(f"no mailbox for {to}")
        return f"250 queued as {random.randrange(10**6)}"

    @app.job(name="customer.sync", queue="sync", max_attempts=1, tags=["eu"])
    async def sync(customer: int) -> dict[str, int]:
        if customer % 9 == 0:
            raise ConnectionError(f"crm answered 503 for customer {customer}")
        return {"changed": customer % 4}

    @app.job(name="invoice.render", queue="documents")
    async def render(invoice: int) -> dict[str, str]:
        return {"file": f"invoices/{invoice}.pdf"}

    @app.job(name="report.monthly", queue="reports")
    async def report(month: str) -> None:
        pass

    await app.enqueue_many(
        send, [{"to": f"user{n}@example.com", "template": "welcome"} for n in range(40)]
    )
    await app.enqueue_many(
        send, [{"to": f"nobody{n}@example.com", "template": "bill"} for n in range(5)]
    )
    await app.enqueue_many(sync, [{"customer": n} for n in range(1, 60)])
    await app.enqueue_many(render, [{"invoice": n} for n in range(7_000, 7_030)])
    await app.run_worker(run_once=True)
    await app.enqueue(report, "2030-01", delay=3_600)
    await app.enqueue_many(render, [{"invoice": n} for n in range(7_030, 7_042)])
    for n in range(6):
        await app.enqueue(sync, n + 1, tags=["us", "retry"])


async def write_operations(app: Soniq) -> None:
    """What people have done, and what is still under way."""
    made = []
    everything: list[tuple[Act, Search, str]] = [
        ("retry", Search(statuses=["dead"], names=["customer.sync"]), "eva"),
        ("cancel", Search(queues=["documents"], statuses=["queued"]), "bob"),
        ("delete", Search(names=["mail.send"], statuses=["dead"]), "eva"),
    ]
    for action, search, by in everything:
        at = await time_of(app)
        meant = frozen(action, search, at)
        count = await app.count(meant)
        made.append(
            await begin(
                app, action, meant, at, secret=False, by=by, reason=None, found=count.value,
                exact=True,
            )
        )  # fmt: skip
        if action == "cancel":
            await stop(app, made[-1] or 0, "eva")
        elif action == "retry":
            await run_batch(app)
    async with app.connection() as connection:
        await connection.execute(
            f"update {app.plugin_schema('dashboard')}.operation set found = 48210, seen = 31500,"
            " changed = 31488, kept = 12, due_at = now() + interval '1 day' where id = $1",
            made[-1],
        )
    await app.pause("reports", reason="the disk is full", by="bob")
    for job in (await app.search(Search(statuses=["queued"], queues=["sync"]), limit=3)).jobs:
        await app.cancel(job.job_id, "customer has left", by="eva@ops")
