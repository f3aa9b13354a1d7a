"""How late jobs start while others come at a fixed rate: `make bench-latency`.

The jobs come when they are due, whether or not those before them are done, from a process of their
own, one enqueue each. Measured is the time from when a job was to be enqueued until its handler
starts, in another process; what the producer or the database is late counts, too. First the peak:
the rate of jobs where the producer waits only while many have not started.
"""

import array
import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from statistics import median, quantiles
from typing import Any, TypeVar

from soniq import Soniq
from tests.benchmarks.apart import SPAWN, START, apart, empty_database, end, exit_on_sigterm
from tests.benchmarks.program import circumstances, markdown, parser, tell
from tests.benchmarks.server import server
from tests.benchmarks.usage import Figures
from tests.docs.pages import DOCS

PAGE = DOCS / "explanation" / "performance.md"
NAME = "latency"
DATABASE = "soniq_bench_latency"

SHARES = (0.5, 0.8, 0.95)
"""Of the peak."""
AHEAD = 1_000
"""How many jobs have not started at most, where the peak is measured."""
TASKS = 200
"""That enqueue there."""
SECONDS, WARM_UP = 10.0, 0.2
"""That are measured, and the part of them that comes before."""
OVER = 30.0
"""Seconds that the last jobs have to start."""

T = TypeVar("T")
Shared = Any
"""A number that both processes see: how many jobs have started."""


def _nothing(due: float) -> None: ...


def make_app(url: str, started: Callable[[float], None] = _nothing) -> Soniq:
    app = Soniq(url, discover=False)

    @app.job(name="stamp")
    async def stamp(due: float) -> None:
        started(due)

    return app


# --- the worker ----------------------------------------------------------------------------------


def work(url: str, counter: Shared, sender: "Connection[Any, Any]") -> None:
    """A worker until SIGTERM; then send when each job was due, and when it started."""
    dues, starts = array.array("d"), array.array("d")

    def started(due: float) -> None:
        dues.append(due)
        starts.append(time.monotonic())
        counter.value += 1

    async def run() -> None:
        async with make_app(url, started) as app:
            await app.run_worker(queues=["warm-up"], run_once=True)
            counter.value = 0
            await app.run_worker()

    counter.value = -1
    asyncio.run(run())
    sender.send((dues, starts))


@contextmanager
def worker(url: str) -> Iterator[tuple[Shared, Callable[[], list[tuple[float, float]]]]]:
    """The counter of a worker process, and what ends it and returns what it has seen."""
    counter = SPAWN.Value("q", -2, lock=False)
    receiver, sender = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=work, args=(url, counter, sender))
    process.start()
    sender.close()

    def seen() -> list[tuple[float, float]]:
        process.terminate()
        assert receiver.poll(OVER), "the worker does not end"
        return list(zip(*receiver.recv(), strict=True))

    try:
        yield counter, seen
    finally:
        process.terminate()
        with suppress(EOFError):  # it does not end before it is read from
            if receiver.poll(OVER):
                receiver.recv()
        end([process])


async def ready(counter: Shared) -> None:
    """Wait until the worker runs."""
    ends = time.monotonic() + START
    while counter.value != 0:
        assert time.monotonic() < ends, "the worker does not start"
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)


# --- the producer --------------------------------------------------------------------------------


async def peak(url: str, seconds: float) -> float:
    """Jobs per second that start while as many are enqueued as the worker keeps up with."""
    with worker(url) as (counter, _):
        async with make_app(url) as app:
            await ready(counter)
            sent, ends = 0, time.monotonic() + seconds * (1 + WARM_UP)

            async def enqueue() -> None:
                nonlocal sent
                while (now := time.monotonic()) < ends:
                    if sent - counter.value >= AHEAD:
                        await asyncio.sleep(0.001)
                        continue
                    sent += 1
                    await app.enqueue("stamp", due=now)

            tasks = [asyncio.create_task(enqueue()) for _ in range(TASKS)]
            await asyncio.sleep(seconds * WARM_UP)
            began, before = time.monotonic(), counter.value
            await asyncio.sleep(seconds * 0.95)
            found = (counter.value - before) / (time.monotonic() - began)
            await asyncio.gather(*tasks)
    return float(found)


async def at_rate(url: str, rate: float, seconds: float) -> Figures:
    """Milliseconds from when jobs were due until they started, of those after the warm-up."""
    with worker(url) as (counter, seen):
        async with make_app(url) as app:
            await ready(counter)
            began, count = time.monotonic(), int(rate * seconds * (1 + WARM_UP))
            enqueued = await arrivals(app, began, rate, count)
            ends = time.monotonic() + OVER
            while counter.value < count and time.monotonic() < ends:
                await asyncio.sleep(0.01)
        times = [(start - due) * 1000 for due, start in seen() if due >= began + seconds * WARM_UP]
    assert counter.value == count, f"{counter.value} of {count} jobs have started"
    cuts = quantiles(times, n=100, method="inclusive")
    return {
        "enqueued": median(enqueued) * 1000,
        "p50": cuts[49],
        "p99": cuts[98],
        "most": max(times),
    }


async def arrivals(app: Soniq, began: float, rate: float, count: int) -> list[float]:
    """Enqueue a job at each time that one is due, however many are not done yet; the seconds from
    then until each enqueue returned.
    """
    took: list[float] = []

    async def enqueue(due: float) -> None:
        await app.enqueue("stamp", due=due)
        took.append(time.monotonic() - due)

    under_way: set[asyncio.Task[None]] = set()
    sent = 0
    while sent < count:
        now = time.monotonic()
        while sent < count and (due := began + sent / rate) <= now:
            task = asyncio.create_task(enqueue(due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            sent += 1
        await asyncio.sleep(0.001)
    await asyncio.gather(*under_way)
    return took


# --- the rounds ----------------------------------------------------------------------------------


def measure(url: str, rounds: int, seconds: float) -> str:
    """The peak, then the shares of it in turns; a table in Markdown."""

    def one(function: Callable[..., Awaitable[T]], *arguments: float) -> T:
        with empty_database(url, DATABASE) as own:
            asyncio.run(set_up(own))
            return apart(function, own, *arguments)

    highest = median(one(peak, seconds) for _ in range(rounds))
    found: dict[float, list[Figures]] = {share: [] for share in SHARES}
    for number in range(rounds):
        for share in SHARES if number % 2 == 0 else SHARES[::-1]:
            found[share].append(one(at_rate, highest * share, seconds))

    rows = [
        [
            f"{share:g} of the peak",
            f"{highest * share:,.0f}",
            *(
                f"{median(each[name] for each in of_share):,.1f} ms"
                for name in ("enqueued", "p50", "p99")
            ),
            f"{max(each['most'] for each in of_share):,.1f} ms",
        ]
        for share, of_share in found.items()
    ]
    return markdown(
        "rate",
        ["jobs/s", "enqueued after, p50", "started after, p50", "p99", "the longest of all"],
        rows,
    )


async def set_up(url: str) -> None:
    """Make the tables, so that two processes do not wait for each other there."""
    async with make_app(url):
        pass


if __name__ == "__main__":
    made = parser(__doc__, [NAME])
    made.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement")
    given = made.parse_args()
    exit_on_sigterm()
    with server() as database:
        rounds = given.rounds or 3
        run = f"Medians of {rounds} rounds of {given.seconds * given.part:g} seconds"
        below = circumstances(database, run)
        tell(NAME, measure(database, rounds, given.seconds * given.part) + below, PAGE, given)
