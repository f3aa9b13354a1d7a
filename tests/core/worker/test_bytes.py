"""What is written and claimed at once is bounded in bytes, not only in number."""

import asyncio
from collections.abc import Callable, Sequence

import asyncpg
import pytest

from soniq import Job, Soniq, SoniqError, hookimpl
from soniq.job import JobContext
from soniq.plugin import NewJob, Outcome
from tests.conftest import MakeApp
from tests.support.jobs import finished, working
from tests.support.waiting import eventually

MB = 1_000_000
MOST = 20 * MB
"""More than one statement carries, which is 16 MB and what the last one is longer."""


class Told:
    """A plugin that notes how many bytes of results and errors each batch of outcomes held."""

    name = "told"

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.together: list[list[str]] = []
        self.outcomes: list[Outcome] = []

    @hookimpl
    def settled(self, outcomes: Sequence[Outcome]) -> None:
        size = sum(
            len(each.result_reference or b"") + len(str(each.error or "")) for each in outcomes
        )
        self.batches.append(size)
        self.together.append([each.job_name.rpartition(".")[2] for each in outcomes])
        self.outcomes += outcomes

    def count(self, name: str) -> list[int]:
        """How many outcomes of the job each batch held."""
        return [names.count(name) for names in self.together]


async def all_at_once(app: Soniq, job: Job[..., object], count: int) -> list[str]:
    ids = await app.enqueue_many(job, [{"number": number} for number in range(count)])
    async with working(app, concurrency=count):
        return [(await finished(app, each, 60))["status"] for each in ids]


async def test_results_that_end_together_are_written_in_rounds_of_bounded_bytes(
    make_app: MakeApp,
) -> None:
    told = Told()
    app = make_app(plugins=[told], max_payload=10 * MB)
    together = asyncio.Barrier(20)

    @app.job()
    async def one(number: int) -> str:
        await together.wait()
        return "x" * (4 * MB)

    assert await all_at_once(app, one, 20) == ["done"] * 20
    assert len(told.outcomes) == 20
    assert max(told.batches) < MOST


async def test_results_and_errors_that_end_together_are_written_in_rounds_too(
    make_app: MakeApp,
) -> None:
    told = Told()
    app = make_app(plugins=[told], max_payload=10 * MB)
    together = asyncio.Barrier(600)

    @app.job(max_attempts=1)
    async def one(number: int) -> str:
        await together.wait()
        if number % 20:
            raise LookupError("x" * 9_000)
        return "x" * MB

    statuses = await all_at_once(app, one, 600)
    assert (statuses.count("done"), statuses.count("dead")) == (30, 570)
    assert len(told.outcomes) == 600
    assert max(told.batches) < MOST


async def test_children_that_are_enqueued_together_are_written_in_rounds(make_app: MakeApp) -> None:
    told = Told()
    app = make_app(plugins=[told], max_payload=10 * MB)
    together = asyncio.Barrier(12)

    @app.job()
    async def child(text: str) -> int:
        return len(text)

    @app.job()
    async def parent(number: int, ctx: JobContext) -> None:
        await ctx.enqueue(child, text="x" * (4 * MB))
        await together.wait()

    assert await all_at_once(app, parent, 12) == ["done"] * 12
    assert max(told.count("parent")) <= 4


class Recording:
    """A connection that notes how many bytes each statement brings along."""

    def __init__(self, connection: object) -> None:
        self.connection = connection
        self.sizes: list[int] = []

    def _note(self, args: Sequence[object]) -> None:
        texts = [
            each
            for arg in args
            if isinstance(arg, list)
            for each in arg
            if isinstance(each, bytes | str)
        ]
        self.sizes.append(sum(map(len, texts)))

    async def fetch(self, query: str, /, *args: object) -> Sequence[object]:
        self._note(args)
        return await self.connection.fetch(query, *args)  # type: ignore[attr-defined, no-any-return]

    async def execute(self, query: str, /, *args: object) -> object:
        self._note(args)
        return await self.connection.execute(query, *args)  # type: ignore[attr-defined]


class Adapting:
    """A plugin for `Recording`, and for keys where it is told so."""

    name = "adapting"

    def __init__(self, keyed: bool) -> None:
        self.keyed = keyed

    @hookimpl
    def dedup_key(self, job: NewJob) -> str | None:
        return f"key {job.args['number']}" if self.keyed else None

    @hookimpl
    def adapt_connection(self, obj: object) -> object:
        return obj if isinstance(obj, Recording) else None


@pytest.mark.parametrize("keyed", [False, True])
async def test_many_large_jobs_are_enqueued_in_statements_of_bounded_bytes(
    make_app: MakeApp, keyed: bool
) -> None:
    app = make_app(plugins=[Adapting(keyed)], max_payload=10 * MB)

    @app.job()
    async def one(number: int, text: str) -> None: ...

    jobs = [{"number": number, "text": "x" * (4 * MB)} for number in range(11)]
    await app.start()
    async with app.connection() as connection:
        recording = Recording(connection)
        ids = await app.enqueue_many(one, jobs, connection=recording)
    assert len(set(ids)) == 11
    assert max(recording.sizes) < MOST
    assert len(await app.jobs(limit=20)) == 11
    again = await app.enqueue_many(one, jobs)  # and on a connection of Soniq's own
    assert [each in ids for each in again] == [keyed] * 11


async def test_many_large_jobs_are_enqueued_all_or_none(make_app: MakeApp, schema: str) -> None:
    app = make_app(plugins=[Adapting(keyed=False)], max_payload=10 * MB)

    @app.job()
    async def one(number: int, text: str) -> None: ...

    await app.start()
    async with app.connection() as connection:
        await connection.execute(
            f"alter table {schema}.job add check (octet_length(args) < 5000000)"
        )
    jobs = [
        {"number": number, "text": "x" * (4 if number < 10 else 6) * MB} for number in range(11)
    ]
    with pytest.raises(SoniqError):
        await app.enqueue_many(one, jobs)
    assert await app.jobs(limit=20) == []


async def test_a_worker_claims_ahead_no_more_bytes_than_it_can_hold(
    make_app: MakeApp, schema: str
) -> None:
    app = make_app(max_payload=2 * MB)
    held: list[int] = []
    together = asyncio.Barrier(4)

    @app.job()
    async def one(text: str) -> None:
        await together.wait()

    @app.job(priority=1)
    async def late(text: str) -> None:
        async with app.connection() as connection:
            held.append(
                await connection.fetchval(
                    f"select sum(octet_length(args)) from {schema}.job where status = 'running'"
                )
            )

    await app.enqueue_many(one, [{"text": "x" * MB} for _ in range(8)])
    await app.enqueue_many(late, [{"text": "x" * MB} for _ in range(100)])
    async with working(app, concurrency=4):
        for job in await app.jobs(limit=200):
            await finished(app, job["job_id"], 60)
    assert max(held) <= 4 * MB + MOST


async def test_a_result_that_ends_each_connection_keeps_no_other_from_being_settled(
    make_app: MakeApp, schema: str
) -> None:
    app = make_app()
    together = asyncio.Barrier(5)

    @app.job(max_attempts=1)
    async def one(number: int) -> str:
        await together.wait()
        return "poison" if number == 3 else "fine"

    await app.start()
    async with (
        app.connection() as connection
    ):  # what a message does that the server, or the way to it, cannot carry
        await connection.execute(
            f"create function {schema}.die() returns trigger language plpgsql as $$ begin perform"
            " pg_terminate_backend(pg_backend_pid()); return new; end $$; create trigger die"
            f" before insert on {schema}.history for each row when (convert_from(new.result,"
            f" 'utf8') = '\"poison\"') execute function {schema}.die()"
        )
    ids = await app.enqueue_many(one, [{"number": number} for number in range(5)])
    async with working(app, concurrency=5):
        statuses = [await finished(app, each) for each in ids]
    assert [each["status"] for each in statuses] == ["done", "done", "done", "dead", "done"]
    assert statuses[3]["error"] is not None
    assert (
        "cannot be written" in statuses[3]["error"]["message"]
        or "refused" in statuses[3]["error"]["message"]
    )


async def test_nothing_is_started_while_too_many_bytes_of_results_wait_to_be_written(
    make_app: MakeApp,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("soniq.worker.settling.pending.MOST_PENDING_BYTES", MB)
    monkeypatch.setattr("soniq.worker.slots.AHEAD", 60)  # also where jobs take long
    app, ran, go_on = make_app(), 0, asyncio.Event()

    @app.job()
    async def one(number: int) -> str:
        nonlocal ran
        if number >= 0:
            await go_on.wait()
            ran += 1
        return "x" * (MB // 10)

    async with working(app, concurrency=5):
        for quick in await app.enqueue_many(one, [{"number": -1}] * 50):  # so that it claims ahead
            await finished(app, quick)
        ids = await app.enqueue_many(one, [{"number": number} for number in range(100)])
        await eventually(lambda: _claimed(connection, schema, 60))

        async with connection.transaction():
            await connection.execute(f"lock table {schema}.history in exclusive mode")
            go_on.set()
            await eventually(lambda: _at_least(lambda: ran, 10))
            await asyncio.sleep(0.3)  # in which the others would have run
            assert ran < 40
        for job_id in ids:
            assert (await finished(app, job_id))["status"] == "done"


async def _claimed(
    connection: "asyncpg.Connection[asyncpg.Record]", schema: str, count: int
) -> bool:
    running = await connection.fetchval(
        f"select count(*) from {schema}.job where status = 'running'"
    )
    return bool(running >= count)


async def _at_least(number: Callable[[], int], wanted: int) -> bool:
    return number() >= wanted
