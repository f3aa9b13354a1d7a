"""`check_plugin`: good plugins pass, and each way to break the contract is found and said."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import asyncpg
import click
import msgspec
import pytest

from soniq import Cancel, JobContext, Soniq, hookimpl
from soniq.errors import PluginError
from soniq.plugin import (
    EnqueueBatch,
    JobDefinition,
    Migration,
    Outcome,
    Task,
    TransactionConnection,
)
from soniq_testing import ContractError, check_plugin

Find = Callable[..., Awaitable[list[str]]]


@pytest.fixture
def find(database_url: str) -> Find:
    """What the check finds in a plugin that breaks the contract."""

    async def find(plugin: object, **arguments: Any) -> list[str]:
        with pytest.raises(ContractError) as raised:
            await check_plugin(plugin, database_url=database_url, **arguments)
        assert all(f"\n- {finding}" in str(raised.value) for finding in raised.value.findings)
        return raised.value.findings

    return find


def plugin_of(name: str, **hooks: Callable[..., Any]) -> ModuleType:
    """A plugin whose hooks are these functions."""
    plugin = ModuleType(name)
    vars(plugin)["name"] = name
    for hook, function in hooks.items():
        setattr(plugin, hook, hookimpl(function))
    return plugin


class Hex:
    """A serializer that makes the JSON unreadable."""

    name = "hex"

    def dumps(self, value: object) -> bytes:
        return msgspec.json.encode(value).hex().encode()

    def loads(self, data: bytes, type: Any) -> Any:
        return msgspec.json.decode(bytes.fromhex(data.decode()), type=type)


class Memory:
    """A result store for large results."""

    name = "memory"

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}

    async def put(self, ctx: JobContext, data: bytes) -> bytes | None:
        if len(data) < 10_000:
            return None
        self.kept[ctx.job_id.encode()] = data
        return ctx.job_id.encode()

    async def get(self, reference: bytes) -> bytes:
        return self.kept[reference]

    async def delete(self, references: Sequence[bytes]) -> None:
        for reference in references:
            del self.kept[reference]


@dataclass(frozen=True)
class Noted:
    """The option of a job whose outcomes are noted."""

    word: str


class Good:
    """Does a bit of everything, and cleans up; a library of its leaves threads, which the check is
    told.
    """

    name = "good"

    def __init__(self) -> None:
        self.store = Memory()
        self.noted: list[str] = []
        self.schema = ""
        self.done = threading.Event()
        self.app: Soniq | None = None

    @hookimpl
    def migrations(self) -> list[Migration]:
        return [Migration(version=1, sql="create table {schema}.note (job_id text, status text)")]

    @hookimpl
    async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
        assert self.app in (None, app)  # as a plugin may demand it
        self.app = app
        task = asyncio.create_task(asyncio.Event().wait())
        threading.Thread(target=self.done.wait, name="library.Worker", daemon=True).start()
        self.schema = app.plugin_schema("good")
        yield
        task.cancel()

    @hookimpl
    def serializers(self) -> list[Hex]:
        return [Hex()]

    @hookimpl
    def result_stores(self) -> list[Memory]:
        return [self.store]

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        if noted := job.option(Noted):
            self.noted.append(noted.word)

    @hookimpl
    def background_tasks(self) -> list[Task]:
        return [Task(name="wait", run=asyncio.Event().wait)]  # type: ignore[arg-type]

    @hookimpl
    async def around_enqueue(self, batch: EnqueueBatch) -> AsyncIterator[None]:
        for job in batch.jobs:
            job.headers["good"] = True
        yield

    @hookimpl
    async def around_job(self, ctx: JobContext) -> AsyncIterator[None]:
        assert ctx.headers["good"]
        yield

    @hookimpl
    async def settle_tx(self, tx: TransactionConnection, outcomes: Sequence[Outcome]) -> None:
        ids, statuses = [each.job_id for each in outcomes], [each.status for each in outcomes]
        notes = "select * from unnest($1::text[], $2::text[])"
        await tx.execute(f"insert into {self.schema}.note {notes}", ids, statuses)


async def test_a_plugin_that_keeps_to_the_contract_passes(database_url: str) -> None:
    plugin = Good()
    await check_plugin(
        plugin, database_url=database_url, options=[Noted("here")], threads=["library."]
    )
    plugin.done.set()
    assert set(plugin.noted) == {"here"}
    assert plugin.store.kept == {}


class TestAsWritten:
    """What can be seen without running a job."""

    async def test_all_hooks_that_are_wrong_are_said_at_once(self, find: Find) -> None:
        class Wrong:
            name = "wrong"

            @hookimpl  # type: ignore[arg-type, unused-ignore]
            def before_jbo(self, ctx: JobContext) -> None: ...

            @hookimpl  # type: ignore[arg-type, unused-ignore]
            def after_job(self, context: JobContext) -> None: ...

            @hookimpl  # type: ignore[arg-type, unused-ignore]
            async def migrations(self) -> list[Migration]:
                return []

            @hookimpl
            def settled(self) -> None: ...

        found = await find(Wrong)
        assert len(found) == 3
        assert "after_job has no argument 'context'; did you mean 'ctx'?" in found
        assert "there is no hook named 'before_jbo'; did you mean 'before_job'?" in found
        assert "migrations is called outside an event loop; write it with def" in found

    async def test_a_function_named_like_a_hook_that_is_not_marked(self, find: Find) -> None:
        class Forgetful:
            @hookimpl
            def settled(self) -> None: ...

            def claimed(self) -> None: ...

        assert await find(Forgetful()) == [
            "claimed is named like a hook, and is not marked @hookimpl"
        ]

    async def test_no_hook_at_all(self, find: Find) -> None:
        assert await find(object()) == [
            "it implements no hook: no function of it is marked @hookimpl"
        ]

    async def test_a_class_that_cannot_be_made(self, find: Find) -> None:
        class Needy:
            def __init__(self, key: str) -> None: ...

        (found,) = await find(Needy)
        assert "cannot be created: TypeError" in found

    async def test_commands_that_cannot_be_added(self, find: Find) -> None:
        def register_commands(cli: click.Group) -> None:
            raise RuntimeError("no terminal")

        found = await find(plugin_of("shell", register_commands=register_commands))
        assert found == ["register_commands raises RuntimeError: no terminal"]


class TestJobs:
    """Jobs that end otherwise than they do without the plugin."""

    async def test_an_error_that_ends_the_attempt(self, find: Find) -> None:
        def around_job(ctx: JobContext) -> Iterator[None]:
            if ctx.job_name == "check.succeed":
                raise RuntimeError("not today")
            yield

        (found,) = await find(plugin_of("grim", around_job=around_job))
        assert found.startswith("a job that succeeds: ")
        assert "RuntimeError: not today" in found
        assert "; without the plugin: done at attempt 1, result Order(" in found

    async def test_a_signal_that_changes_what_the_job_comes_to(self, find: Find) -> None:
        def before_job(ctx: JobContext) -> None:
            if ctx.job_name == "check.fail":
                raise Cancel("pointless")

        (found,) = await find(plugin_of("meddler", before_job=before_job))
        assert found.startswith("a job that fails: cancelled at attempt 1")

    async def test_an_enqueue_that_is_refused(self, find: Find) -> None:
        def around_enqueue(batch: EnqueueBatch) -> Iterator[None]:
            if batch.bulk:
                raise RuntimeError("too many")
            yield

        (found,) = await find(plugin_of("gate", around_enqueue=around_enqueue))
        assert found.startswith("a bulk of jobs: is refused: RuntimeError: too many")

    async def test_jobs_that_are_taken_for_duplicates(self, find: Find) -> None:
        found = await find(plugin_of("lumper", dedup_key=lambda job: "all"))
        assert any(
            each.startswith("a bulk of jobs: done at attempt 1, result '0'; without")
            for each in found
        )

    async def test_headers_that_are_lost(self, find: Find) -> None:
        def around_enqueue(batch: EnqueueBatch) -> Iterator[None]:
            for job in batch.jobs:
                job.headers.clear()
            yield

        found = await find(plugin_of("thief", around_enqueue=around_enqueue))
        assert [each.partition(":")[0] for each in found] == [
            "a job with headers, a context and a connection"
        ]

    async def test_a_result_that_comes_back_as_another(self, find: Find) -> None:
        class Shortener(Memory):
            async def get(self, reference: bytes) -> bytes:
                return json.dumps("short").encode()

        store = Shortener()
        found = await find(plugin_of("shortener", result_stores=lambda: [store]))
        assert [each.partition(":")[0] for each in found] == ["a job with a large result"]

    async def test_a_serializer_that_loses_something(self, find: Find) -> None:
        class Lossy(Hex):
            name = "lossy"

            def loads(self, data: bytes, type: Any) -> Any:
                value = super().loads(data, type)
                if hasattr(value, "number"):
                    value.number = 0
                return value

        (found,) = await find(plugin_of("lossy", serializers=lambda: [Lossy()]))
        assert found.startswith(
            "a job with the serializer 'lossy': dead at attempt 1 with soniq.errors.Serialization"
        )

    async def test_a_job_that_hangs(self, find: Find) -> None:
        released = asyncio.Event()

        async def around_job(ctx: JobContext) -> AsyncIterator[None]:
            try:
                yield
            finally:
                if ctx.job_name == "check.cancel":
                    await released.wait()

        found = await find(plugin_of("sticky", around_job=around_job), timeout=2)
        released.set()
        assert (
            "running the jobs fails: TimeoutError: not all was done after 2 s; running:"
            " check.cancel" in found
        )


class TestErrors:
    """Errors in hooks that harm no job are found all the same."""

    async def test_an_observer_that_raises(self, find: Find) -> None:
        def settled(outcomes: Sequence[Outcome]) -> None:
            raise KeyError("status")

        assert await find(plugin_of("audit", settled=settled)) == [
            "settled of audit failed: KeyError('status')"
        ]

    async def test_a_background_task_that_fails(self, find: Find) -> None:
        async def fail() -> None:
            raise KeyError("interval")

        (found,) = await find(
            plugin_of("ticker", background_tasks=lambda: [Task(name="tick", run=fail)])
        )
        assert found.startswith("the task tick of ticker failed")

    async def test_one_that_only_shows_among_others_that_are_slow(self, find: Find) -> None:
        def around_job(ctx: JobContext) -> Iterator[None]:
            began = time.monotonic()
            try:
                yield
            finally:
                if ctx.job_name == "check.fail" and time.monotonic() - began > 0.4:
                    raise RuntimeError("too slow for me")

        (found,) = await find(plugin_of("hasty", around_job=around_job))
        assert found.startswith("around_job of hasty failed while leaving")
        assert found.endswith("among plugins that raise and hang")


class TestLife:
    """Starting, closing, starting again, and what is left behind."""

    async def test_a_start_that_fails(self, find: Find) -> None:
        shy = True

        def lifespan() -> Iterator[None]:
            if shy:
                raise RuntimeError("no licence")
            yield

        (found,) = await find(plugin_of("shy", lifespan=lifespan))
        assert found.startswith("starting fails: PluginError: lifespan of shy failed: no licence")

    async def test_a_start_that_hangs(self, find: Find) -> None:
        async def lifespan() -> AsyncIterator[None]:
            await asyncio.Event().wait()
            yield

        assert await find(plugin_of("late", lifespan=lifespan), timeout=1) == [
            "starting takes longer than 1 s"
        ]

    async def test_a_close_that_hangs(self, find: Find) -> None:
        closed: list[str] = []

        async def lifespan() -> AsyncIterator[None]:
            yield
            closed.append("once")
            if len(closed) == 1:
                await asyncio.Event().wait()

        assert await find(plugin_of("clingy", lifespan=lifespan), timeout=4) == [
            "closing takes longer than 4 s"
        ]

    async def test_a_second_start_that_fails(self, find: Find) -> None:
        started: list[object] = []

        def lifespan(app: Soniq) -> Iterator[None]:
            if app in started:
                raise PluginError("once is enough", plugin="once")
            started.append(app)
            yield

        (found,) = await find(plugin_of("once", lifespan=lifespan))
        assert found.startswith("starting again, after a close fails: PluginError:")
        assert "once is enough" in found

    async def test_a_task_a_thread_and_a_connection_that_are_left_behind(
        self, find: Find, database_url: str
    ) -> None:
        ends: list[Callable[[], object]] = []

        async def lifespan() -> AsyncIterator[None]:
            task = asyncio.create_task(asyncio.Event().wait(), name="forgotten task")
            done = threading.Event()
            threading.Thread(target=done.wait, name="forgotten thread", daemon=True).start()
            ends.extend([task.cancel, done.set, (await asyncpg.connect(database_url)).terminate])
            yield

        found = await find(plugin_of("messy", lifespan=lifespan))
        for end in ends:
            end()
        assert found == [
            "after close, the task 'forgotten task' (Event.wait) still runs",
            "after close, the thread 'forgotten thread' still runs",
            "after close, connections to the database are still open: 2",
        ]
