"""How the queues stand, of one overview."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from soniq import Count, Overview, Search

from .figures import duration, number

STALE = 60.0
"""Seconds after which it is told that a job has been due for so long."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue, and what it holds."""

    name: str
    waiting: Count
    scheduled: Count
    running: Count
    held: Count
    dead: Count
    cancelled: Count
    done: int
    """About so many, where the overview is not exact."""
    oldest_waiting: float
    """Seconds; 0 where no job waits."""
    paused: Mapping[str, object] | None
    """Since when, by whom and why, where it is."""
    workers: int
    """The live workers that serve it."""


def died_since(at: datetime) -> Search:
    """Finds the jobs that have died since, the last first."""
    return Search(statuses=["dead"], finished=(at, None), order="finished")


def queues_of(now: Overview) -> Sequence[Queue]:
    """All queues that have jobs, are paused, or are served by name."""
    served = {queue for worker in now["workers"] for queue in worker["queues"] or ()}
    names = {*now["queues"], *now["backlog"], *now["paused"], *served}
    return [_queue(name, now) for name in sorted(names)]


def summed(counts: Iterable[Count]) -> Count:
    """Counts of several queues as one."""
    several = [*counts]
    value = sum(each.value for each in several)
    return Count(value=value, exact=all(each.exact for each in several))


def _queue(name: str, now: Overview) -> Queue:
    jobs, bounded = now["queues"].get(name, {}), now["at_least"].get(name, ())
    backlog = now["backlog"].get(name)

    def count(what: str, jobs: int) -> Count:
        return Count(value=jobs, exact=what not in bounded)

    serve = [each for each in now["workers"] if each["queues"] is None or name in each["queues"]]
    return Queue(
        name=name,
        waiting=count("waiting", backlog["waiting"] if backlog else 0),
        scheduled=count("scheduled", backlog["scheduled"] if backlog else 0),
        running=count("running", backlog["running"] if backlog else 0),
        held=count("held", backlog["held"] if backlog else 0),
        dead=count("dead", jobs.get("dead", 0)),
        cancelled=count("cancelled", jobs.get("cancelled", 0)),
        done=jobs.get("done", 0),
        oldest_waiting=backlog["oldest_waiting"] if backlog else 0.0,
        paused=now["paused"].get(name),
        workers=len(serve),
    )


@dataclass(frozen=True, slots=True)
class Attention:
    """Something that needs an operator."""

    level: Literal["bad", "warn"]
    text: str
    about: tuple[Literal["queue", "name", "workers", "failures"], str]
    """Where one sees more of it, and of which queue or name."""


def attention(now: Overview, dead: Count) -> Iterator[Attention]:
    """What needs an operator, the most urgent first; `dead`: how many jobs died in an hour."""
    yield from _unserved(now)
    yield from _late(now)
    if dead.value:
        have = "job has" if dead == Count(value=1, exact=True) else "jobs have"
        text = f"{number(dead)} {have} died within the last hour"
        yield Attention("warn", text, ("failures", ""))
    for queue in now["paused"]:
        yield Attention("warn", f"The queue {queue} is paused", ("queue", queue))


def _unserved(now: Overview) -> Iterator[Attention]:
    """Jobs that nobody will run."""
    live = any(each["waiting"] or each["running"] for each in now["backlog"].values())
    if live and not now["workers"]:
        yield Attention("bad", "Jobs wait, and no worker is alive", ("workers", ""))
    many = bool(now["at_least"])
    for queue, jobs in now["unserved_queues"].items():
        bounded = "waiting" in now["at_least"].get(queue, ())
        text = f"No live worker serves the queue {queue}: {_wait(jobs, bounded)}"
        yield Attention("bad", text, ("queue", queue))
    for name, jobs in now["unknown_names"].items():
        text = f"No live worker knows {name}: {_wait(jobs, many)}"
        yield Attention("bad", text, ("name", name))
    for plugin, jobs in now["missing_plugins"].items():
        need = f"{_count(jobs, many)} {'job needs' if jobs == 1 and not many else 'jobs need'}"
        text = f"No live worker has the plugin {plugin}, which {need}"
        yield Attention("bad", text, ("workers", ""))


def _late(now: Overview) -> Iterator[Attention]:
    """What has waited for long."""
    for queue, backlog in sorted(now["backlog"].items()):
        if backlog["oldest_waiting"] > STALE and queue not in now["paused"]:
            late = duration(backlog["oldest_waiting"])
            text = f"A job of the queue {queue} has been due for {late}"
            yield Attention("warn", text, ("queue", queue))
    for plugin, owed in now["owed"].items():
        if owed["waiting"] > STALE:
            events = f"{number(owed['events'])} events have waited for {duration(owed['waiting'])}"
            yield Attention("warn", f"{plugin}: {events}", ("workers", ""))


def _wait(jobs: int, bounded: bool) -> str:
    one = jobs == 1 and not bounded
    return f"{_count(jobs, bounded)} {'job waits' if one else 'jobs wait'}"


def _count(jobs: int, bounded: bool) -> str:
    return number(Count(value=jobs, exact=not bounded))
