"""Apps with the plugin, what it counted, and outcomes to count."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg
import pytest

from soniq import Soniq, hookimpl
from soniq.plugin import Outcome
from soniq_dashboard import Dashboard, Point
from tests.conftest import MakeApp
from tests.support.schemas import Plugins

Connection = asyncpg.Connection

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Told:
    """What `settled` was told, by queue, name, and what became of the job."""

    name = "told"

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    @hookimpl
    def settled(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes += outcomes

    @property
    def ways(self) -> Counter[tuple[str, str, str]]:
        return Counter(
            (each.queue, each.job_name, each.kind if each.status == "queued" else each.status)
            for each in self.outcomes
        )


@pytest.fixture
def tables_of() -> Plugins:
    return (Dashboard,)


@pytest.fixture
def dashboard() -> Dashboard:
    return Dashboard()


@pytest.fixture
def app(make_app: MakeApp, dashboard: Dashboard) -> Soniq:
    """An app with the plugin."""
    return make_app(plugins=[dashboard])


def outcome(
    name: str = "job", queue: str = "default", took: float | None = 0.1, waited: float = 0.2
) -> Outcome:
    """The outcome of a job that is done."""
    return Outcome(
        job_id="0", job_name=name, queue=queue, attempt=1, status="done", kind="done",
        took=took, queued_for=waited,
    )  # fmt: skip


WAYS = ("done", "dead", "cancelled", "retry", "snooze", "lost", "stopped")


def ways_of(points: Sequence[Point]) -> Counter[tuple[str, str, str]]:
    """What became of jobs, from points by queue and name."""
    found: Counter[tuple[str, str, str]] = Counter()
    for point in points:
        for way in WAYS:
            found[point.queue or "", point.name or "", way] += getattr(point, way)
    return +found
