"""The jobs that have died, those of the same kind together."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from soniq import FoundJob
from soniq.plugin import presented
from soniq_dashboard.standing import died_since
from soniq_dashboard.web.query import quoted
from soniq_dashboard.web.sparks import Spark, spark
from soniq_dashboard.web.view import View

from . import Page
from .jobs import all_that_match

PERIODS = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}
BARS = {
    "1h": (timedelta(minutes=2), "2 minutes"),
    "24h": (timedelta(minutes=30), "half an hour"),
    "7d": (timedelta(hours=4), "4 hours"),
}
"""By period: the time of each bar of a sparkline."""
MOST = 2_000
"""The newest failures that are grouped."""
AT_ONCE = 1_000
MOST_SHOWN = 200
"""The groups of a page."""
MOST_ACTS = 50
"""Groups beside which it is offered to change all of them."""
VARYING = re.compile(r"0x[0-9a-f]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d+", re.IGNORECASE)
"""What differs between messages of the same kind: addresses, ids and numbers."""
MASKED = "***"
SHORTEST, LONGEST = 4, 100
"""Characters of what is searched for in messages."""


@dataclass(frozen=True, slots=True)
class Group:
    """Failures of a job with the same error: its type, and its message but for numbers."""

    name: str
    error_type: str
    message: str
    jobs: int
    first: datetime | None
    last: datetime | None
    example: str
    """The id of the last."""
    times: Sequence[datetime] = field(compare=False)
    """When each died."""


async def read(view: View) -> Mapping[str, object]:
    period = view.choice("period", PERIODS, "24h")
    messages = view.may("see_arguments")
    found, complete = await view.shared.get(("failures", period), lambda: _newest(view, period))
    groups = grouped(found, await _messages(view, found) if messages else {})
    return {
        "groups": groups,
        "jobs": len(found),
        "complete": complete,
        "period": period,
        "periods": [(each, view.url("/failures", period=each)) for each in PERIODS],
        "sparks": sparks(groups, period, complete),
        "searches": {each: view.url("/jobs", q=_search(each, period)) for each in groups},
        "acts": {
            each: all_that_match(view, _search(each, period), ("retry", "delete"))
            for each in groups[:MOST_ACTS]
        },
    }


async def _newest(view: View, period: str) -> tuple[Sequence[FoundJob], bool]:
    """The newest failures of a period, and whether these are all."""
    search = died_since(datetime.now(UTC) - PERIODS[period])
    found: list[FoundJob] = []
    cursor: str | None = None
    while len(found) < MOST:
        page = await view.app.search(search, cursor=cursor, limit=AT_ONCE)
        found += page.jobs
        cursor = page.next
        if cursor is None or not page.complete:
            break
    return found, cursor is None


async def _messages(view: View, jobs: Sequence[FoundJob]) -> Mapping[tuple[str, str], str]:
    """What errors say as it may be shown, by the job's name and what they said."""
    said = {(job.job_name, job.error_message) for job in jobs if job.error_message}
    return {
        (name, message): str(await presented(view.app, name, "error", message))
        for name, message in said
    }


def grouped(jobs: Sequence[FoundJob], shown: Mapping[tuple[str, str], str]) -> Sequence[Group]:
    """Those of the same kind together, the most frequent first; by type alone where nothing of the
    messages is shown. `shown` has what may be shown of each message, by the job's name and it.
    """
    of_kind: dict[tuple[str, str, str], list[FoundJob]] = defaultdict(list)
    saying: dict[tuple[str, str | None, str | None], list[FoundJob]] = {}
    for job in jobs:
        said = job.job_name, job.error_type, job.error_message
        if said not in saying:  # many say the very same
            message = VARYING.sub("…", shown.get((job.job_name, job.error_message or ""), ""))
            saying[said] = of_kind[job.job_name, job.error_type or "", message]
        saying[said].append(job)
    groups = [
        Group(
            name, error_type, message, len(same), same[-1].finished_at, same[0].finished_at,
            same[0].job_id, [job.finished_at for job in same if job.finished_at],
        )
        for (name, error_type, message), same in of_kind.items()
    ]  # fmt: skip
    return sorted(groups, key=lambda group: -group.jobs)


def sparks(
    groups: Sequence[Group], period: str, complete: bool, now: datetime | None = None
) -> Mapping[Group, Spark]:
    """How many of each group died over a period that ends now, of those that are shown. Where not
    all were read, what is before the first of them is not known.
    """
    long, told = BARS[period]
    places, seconds = PERIODS[period] // long, long.total_seconds()
    # of the last bar's time a part is still to come: so they stand as they are meanwhile
    before = int((now or datetime.now(UTC)).timestamp() // seconds) - places + 1

    def place(at: datetime) -> int:
        return min(max(int(at.timestamp() // seconds) - before, 0), places - 1)

    known = 0 if complete else min((place(each.first) for each in groups if each.first), default=0)
    made: dict[Group, Spark] = {}
    for each in groups[:MOST_SHOWN]:
        counts = [0] * places
        for bar, died in Counter(int(at.timestamp() // seconds) for at in each.times).items():
            counts[min(max(bar - before, 0), places - 1)] += died
        made[each] = spark(counts, "died", told, known=known)
    return made


def in_all(message: str) -> str:
    """The longest text that is in all messages of a group; empty where none tells them apart."""
    longest = max(re.split(rf"…|{re.escape(MASKED)}", message), key=len)[:LONGEST]
    return longest if len(longest.strip()) >= SHORTEST else ""


def _search(group: Group, period: str) -> str:
    """What finds the jobs of a group."""
    words = ["status:dead", "order:finished", f"finished:{period}", f"name:{quoted(group.name)}"]
    if group.error_type:
        words.append(f"error:{quoted(group.error_type)}")
    if text := in_all(group.message):
        words.append(quoted(text))
    return " ".join(words)


PAGE = Page("/failures", "failures.html", read, "Failures", "f")
