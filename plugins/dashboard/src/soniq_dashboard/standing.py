"""How the queues stand, of one overview."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from soniq import Count, Overview


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


def queues_of(now: Overview) -> Sequence[Queue]:
    """All queues that have jobs, are paused, or are served by name."""
    served = {queue for worker in now["workers"] for queue in worker["queues"] or ()}
    names = {*now["queues"], *now["backlog"], *now["paused"], *served}
    return [_queue(name, now) for name in sorted(names)]


def together(counts: Iterable[Count]) -> Count:
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
