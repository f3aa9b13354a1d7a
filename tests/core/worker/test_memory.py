"""What attempts had in their hands is free when they are over, without the garbage collector.

Each test runs some attempts with the collector off, and counts what is still alive of that of which
each had one.
"""

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from soniq import Cancel, Retry, Snooze, Soniq, SoniqError, hookimpl
from soniq.job import JobContext
from soniq.plugin import Outcome, Task
from tests.conftest import MakeApp
from tests.support.jobs import finished, working
from tests.support.waiting import in_time

ATTEMPTS = 12


class Probe:
    """Makes objects that stand for much memory, and counts those that are alive."""

    def __init__(self) -> None:
        self._made: list[weakref.ref[Large]] = []

    def __call__(self) -> "Large":
        large = Large()
        self._made.append(weakref.ref(large))
        return large

    def note(self, large: "Large") -> None:
        self._made.append(weakref.ref(large))

    @property
    def made(self) -> int:
        return len(self._made)

    @property
    def alive(self) -> int:
        return sum(each() is not None for each in self._made)


@dataclass
class Large:
    """What an attempt has in its hands."""

    text: str = "much"


@pytest.fixture
def probe() -> Iterator[Probe]:
    """A probe, with the garbage collector off, and no log record kept by pytest with the error in
    it.
    """
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.disable()
    yield Probe()
    gc.enable()
    logging.disable(logging.NOTSET)


async def run_all(app: Soniq, job: object, **arguments: object) -> None:
    for _ in range(ATTEMPTS):
        await app.enqueue(job, **arguments)  # type: ignore[arg-type]
    await app.run_worker(run_once=True, concurrency=3)
    await asyncio.sleep(0)


async def _fails(large: object) -> None:
    raise LookupError("plain")


async def _fails_because(large: object) -> None:
    try:
        await _fails(large)
    except LookupError as error:
        raise ValueError("for a reason") from error


async def _fails_meanwhile(large: object) -> None:
    try:
        await _fails(large)
    finally:
        raise ValueError("meanwhile")


async def _fails_at_last(large: object) -> None:
    last: Exception | None = None
    for _ in range(3):
        try:
            await _fails(large)
        except LookupError as error:
            last = error  # a cycle of the handler's own
    assert last is not None
    raise last


async def _fails_in_a_group(large: object) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_fails(large))
        group.create_task(_fails_because(large))


async def _exits(large: object) -> None:
    raise SystemExit(3)


async def _is_retried(large: object) -> None:
    raise Retry(0)


async def _is_cancelled(large: object) -> None:
    raise Cancel("no longer wanted")


async def _is_too_slow(large: object) -> None:
    await asyncio.sleep(30)


Way = Callable[[object], Awaitable[None]]

WAYS: list[Way] = [
    _fails, _fails_because, _fails_meanwhile, _fails_at_last, _fails_in_a_group, _exits,
    _is_retried, _is_cancelled, _is_too_slow,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.strip("_"))
async def test_an_attempt_that_does_not_succeed_keeps_nothing(
    app: Soniq, probe: Probe, way: Way
) -> None:
    @app.job(max_attempts=2, retry=0, timeout=0.05 if way is _is_too_slow else 60)
    async def one() -> None:
        large = probe()
        await way(large)

    await run_all(app, one)
    assert (probe.made >= ATTEMPTS, probe.alive) == (True, 0)


async def test_a_plain_function_that_fails_keeps_nothing(app: Soniq, probe: Probe) -> None:
    def deeper(large: Large) -> None:
        raise LookupError("deeper")

    @app.job(max_attempts=2, retry=0)
    def one() -> None:
        large = probe()
        deeper(large)

    await run_all(app, one)
    assert (probe.made, probe.alive) == (2 * ATTEMPTS, 0)


async def test_arguments_and_results_are_not_kept(app: Soniq, probe: Probe) -> None:
    @app.job(timeout=3600)
    async def one(large: Large) -> Large:
        probe.note(large)
        return large

    await run_all(app, one, large=Large())
    assert (probe.made, probe.alive) == (ATTEMPTS, 0)


async def test_a_worker_that_goes_on_keeps_nothing_of_attempts_with_long_timeouts(
    app: Soniq, probe: Probe
) -> None:
    @app.job(timeout=3600, max_attempts=1)
    async def one(large: Large, number: int) -> Large:
        probe.note(large)
        if number % 2:
            raise LookupError("odd")
        return large

    ids = [await app.enqueue(one, large=Large(), number=number) for number in range(ATTEMPTS)]
    async with working(app):
        for each in ids:
            await finished(app, each)
        async with asyncio.timeout(10):
            while probe.alive:  # the last ones are on their way out
                await asyncio.sleep(0.05)
    assert probe.made == ATTEMPTS


class Failing:
    """Fails in each hook of an attempt, with something large in its hands."""

    name = "failing"

    def __init__(self, probe: Probe, hook: str) -> None:
        self.probe = probe
        self.hook = hook

    def fail(self, hook: str) -> None:
        large = self.probe()
        if hook == self.hook:
            raise ValueError(f"{hook} holds {large}")

    @hookimpl
    async def around_job(self, ctx: JobContext) -> AsyncIterator[None]:
        self.fail("entering")
        yield
        self.fail("leaving")

    @hookimpl
    def before_job(self, ctx: JobContext) -> None:
        self.fail("before_job")
        if self.hook == "signal":
            large = self.probe()
            raise Cancel(f"for {large}")

    @hookimpl
    async def after_job(self, ctx: JobContext, result: object) -> None:
        self.fail("after_job")

    @hookimpl
    def on_error(self, ctx: JobContext, error: BaseException) -> None:
        self.fail("on_error")

    @hookimpl
    def retry_delay(self, ctx: JobContext, error: BaseException) -> float:
        self.fail("retry_delay")
        return 0.0

    @hookimpl
    async def settle_tx(self, tx: object, outcomes: Sequence[Outcome]) -> None:
        self.fail("settle_tx")

    @hookimpl
    async def settled(self, outcomes: Sequence[Outcome]) -> None:
        self.fail("settled")


@pytest.mark.parametrize(
    "hook",
    [
        "entering",
        "leaving",
        "before_job",
        "signal",
        "after_job",
        "on_error",
        "retry_delay",
        "settle_tx",
        "settled",
    ],
)
@pytest.mark.parametrize("succeeds", [True, False])
async def test_a_hook_that_fails_keeps_nothing(
    make_app: MakeApp, probe: Probe, hook: str, succeeds: bool
) -> None:
    app = make_app(plugins=[Failing(probe, hook)])

    @app.job(max_attempts=2)
    async def one() -> None:
        large = probe()
        if not succeeds:
            await _fails(large)

    await run_all(app, one)
    assert (probe.made > ATTEMPTS, probe.alive) == (True, 0)


async def test_a_background_task_that_fails_keeps_nothing(make_app: MakeApp, probe: Probe) -> None:
    again = asyncio.Event()

    class Busy:
        name = "busy"

        @hookimpl
        def background_tasks(self) -> list[Task]:
            return [Task(name="shaky", run=self.fail_once)]

        async def fail_once(self) -> None:
            if probe.made == 0:
                await _fails(probe())
            again.set()

    async with working(make_app(plugins=[Busy()])):
        await in_time(again.wait())
        assert (probe.made, probe.alive) == (1, 0)


@pytest.mark.parametrize("place", ["entering", "leaving"])
async def test_a_provider_that_fails_keeps_nothing(
    make_app: MakeApp, probe: Probe, place: str
) -> None:
    class Thing: ...

    class Providing:
        name = "providing"

        @hookimpl
        def provide(self, annotation: object, job: object) -> object:
            return self.thing if annotation is Thing else None

        @asynccontextmanager
        async def thing(self, ctx: JobContext) -> AsyncIterator[Thing]:
            large = probe()
            if place == "entering":
                await _fails(large)
            yield Thing()
            await _fails(large)

    app = make_app(plugins=[Providing()])

    @app.job(max_attempts=1)
    async def one(thing: Thing) -> None: ...

    await run_all(app, one)
    assert (probe.made, probe.alive) == (ATTEMPTS, 0)


class Keeping:
    """An observer that keeps all it hears."""

    name = "keeping"

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    @hookimpl
    def settled(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes += outcomes


async def test_an_observer_that_keeps_outcomes_keeps_no_variables_of_handlers(
    make_app: MakeApp, probe: Probe
) -> None:
    keeping = Keeping()
    app = make_app(plugins=[keeping])

    @app.job(max_attempts=1)
    async def one() -> None:
        large = probe()
        await _fails_because(large)

    await run_all(app, one)
    assert [str(each.error) for each in keeping.outcomes] == ["for a reason"] * ATTEMPTS
    assert (probe.made, probe.alive) == (ATTEMPTS, 0)


async def test_hooks_of_the_attempt_still_see_the_traceback(app: Soniq) -> None:
    seen: list[list[str]] = []

    def names(error: BaseException) -> list[str]:
        trace, found = error.__traceback__, []
        while trace is not None:
            found.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        return found

    @app.on_error
    def note(ctx: JobContext, error: BaseException) -> None:
        seen.append(names(error))

    @app.around_job
    async def around(ctx: JobContext) -> AsyncIterator[None]:
        try:
            yield
        except LookupError as error:
            seen.append(names(error))
            raise

    @app.job(max_attempts=1)
    async def one() -> None:
        await _fails(None)

    await app.enqueue(one)
    await app.run_worker(run_once=True)
    assert len(seen) == 2
    assert all("_fails" in each for each in seen)


async def test_an_attempt_that_lost_its_job_keeps_nothing(
    app: Soniq, probe: Probe, schema: str
) -> None:
    began = asyncio.Event()

    @app.job()
    async def one() -> None:
        large = probe()
        began.set()
        await _is_too_slow(large)

    await app.enqueue(one)
    async with working(app, concurrency=1):
        await in_time(began.wait())
        async with app.connection() as connection:  # as a rescuer does
            await connection.execute(f"delete from {schema}.job; delete from {schema}.worker")
        async with asyncio.timeout(30):
            while probe.alive:
                await asyncio.sleep(0.05)
    assert probe.made == 1


async def test_an_enqueue_that_fails_keeps_nothing(app: Soniq, probe: Probe, schema: str) -> None:
    @app.job()
    async def one(large: Large) -> None: ...

    await app.start()
    async with app.connection() as connection:
        await connection.execute(f"alter table {schema}.job add check (priority < 5)")

    async def enqueue(**options: object) -> None:
        large = Large()
        probe.note(large)
        with pytest.raises(SoniqError):
            await app.enqueue(one, large=large, priority=5, **options)

    for number in range(ATTEMPTS):
        await enqueue()
        await enqueue(dedup_key=f"key {number}")
    await asyncio.gather(*(enqueue() for _ in range(ATTEMPTS)))
    await asyncio.sleep(0)
    assert (probe.made, probe.alive) == (3 * ATTEMPTS, 0)


async def test_an_enqueue_inside_a_hook_that_fails_keeps_nothing(
    make_app: MakeApp, probe: Probe
) -> None:
    class Around:
        name = "around"

        @hookimpl
        async def around_enqueue(self, batch: object) -> AsyncIterator[None]:
            yield
            raise ValueError("after the insert")

    app = make_app(plugins=[Around()])

    @app.job()
    async def one(large: Large) -> None: ...

    async def enqueue() -> None:
        large = Large()
        probe.note(large)
        with pytest.raises(ValueError, match="after the insert"):
            await app.enqueue(one, large=large)

    for _ in range(ATTEMPTS):
        await enqueue()
    await asyncio.sleep(0)
    assert (probe.made, probe.alive) == (ATTEMPTS, 0)


async def test_waiting_for_a_job_that_fails_keeps_nothing(app: Soniq, probe: Probe) -> None:
    @app.job(max_attempts=1)
    async def one() -> None:
        await _fails(None)

    ids = [await app.enqueue(one) for _ in range(ATTEMPTS)]
    await app.run_worker(run_once=True)

    async def wait(job_id: str) -> None:
        large = probe()
        with pytest.raises(SoniqError):
            await app.wait_for(job_id, 5)
        assert large.text

    for each in ids:
        await wait(each)
    await asyncio.sleep(0)
    assert (probe.made, probe.alive) == (ATTEMPTS, 0)


async def test_signals_that_a_handler_returns_keep_nothing(app: Soniq, probe: Probe) -> None:
    runs: list[int] = []

    @app.job(max_attempts=3)
    async def one() -> Snooze | None:
        large = probe()
        runs.append(len(large.text))
        return Snooze(0.01) if len(runs) <= ATTEMPTS else None

    await run_all(app, one)
    assert (probe.made >= ATTEMPTS, probe.alive) == (True, 0)
