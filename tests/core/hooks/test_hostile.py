"""A hook can break nothing: whatever it raises, and however long it takes, in each hook of the
contract.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import click
import pytest
from click.testing import CliRunner

from soniq import JobContext, Soniq, SoniqError, hookimpl
from soniq.cli.commands import soniq
from soniq.errors import PluginError
from soniq.hooks.reports import report
from soniq.hooks.specs import HOOKS
from soniq.plugin import NewJob, Outcome, OwedEvent, Task, load_plugins, presented
from tests.conftest import MakeApp
from tests.core.hooks.support import Install, MakePlugin
from tests.support.jobs import finished, lose_a_worker, status_of, working
from tests.support.waiting import eventually, in_time


class Own(BaseException):
    """A plugin's own, which no `except Exception` catches."""


KINDS: list[type[BaseException]] = [
    ValueError, GeneratorExit, SystemExit, KeyboardInterrupt, asyncio.CancelledError, StopIteration,
    Own,
]  # fmt: skip
FROM_OUTSIDE = KeyboardInterrupt
"""At the start-up, and in a command, it is taken for Ctrl-C, and ends that as it is."""
NOT_FROM_OUTSIDE = [kind for kind in KINDS if kind is not FROM_OUTSIDE]


class Hostile:
    """Does harm in one hook: raises, or waits for ever, and holds on to its wait when it is
    `stubborn`.
    """

    name = "hostile"

    def __init__(
        self, hook: str, kind: type[BaseException] | None, *, stubborn: bool = False
    ) -> None:
        self.hook = hook
        self.kind = kind
        self.stubborn = stubborn
        self.harmed = 0

    def harm(self, hook: str) -> None:
        """Raise, where it is this hook's turn."""
        if hook == self.hook and self.kind is not None:
            self.harmed += 1
            raise self.kind("harm")

    async def harm_later(self, hook: str) -> None:
        """Raise, or wait."""
        self.harm(hook)
        while hook == self.hook:
            self.harmed += 1
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not self.stubborn:
                    raise

    @hookimpl
    async def database_url(self, app: Soniq) -> str | None:
        await self.harm_later("database_url")
        return None

    @hookimpl
    async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
        await self.harm_later("lifespan")
        yield
        await self.harm_later("leaving lifespan")

    @hookimpl
    def withdraw_hooks(self) -> list[str]:
        self.harm("withdraw_hooks")
        return []

    @hookimpl
    async def started(self, app: Soniq) -> None:
        await self.harm_later("started")

    @hookimpl
    def jobs(self) -> None:
        self.harm("jobs")

    @hookimpl
    def hookspecs(self) -> list[Any]:
        self.harm("hookspecs")
        return []

    @hookimpl
    def serializers(self) -> list[Any]:
        self.harm("serializers")
        return []

    @hookimpl
    def result_stores(self) -> list[Any]:
        self.harm("result_stores")
        return []

    @hookimpl
    def provide(self, annotation: object, job: object) -> object:
        self.harm("provide")
        return self.providing if annotation is Own else None

    @asynccontextmanager
    async def providing(self, ctx: JobContext) -> AsyncIterator[None]:
        await self.harm_later("entering a provider")
        yield
        await self.harm_later("leaving a provider")

    @hookimpl
    def configure_job(self, job: object) -> None:
        self.harm("configure_job")

    @hookimpl
    def background_tasks(self, app: Soniq) -> list[Task]:
        self.harm("background_tasks")
        return [Task(name="harm", run=lambda: self.harm_later("a task"))]

    @hookimpl
    def housekeeping(self) -> list[Callable[[], AbstractContextManager[None]]]:
        self.harm("housekeeping")
        return [self.keeping]

    @contextmanager
    def keeping(self) -> Iterator[None]:
        self.harm("entering housekeeping")
        yield
        self.harm("leaving housekeeping")

    @hookimpl
    def migrations(self) -> list[Any]:
        self.harm("migrations")
        return []

    @hookimpl
    def register_commands(self, cli: click.Group) -> None:
        self.harm("register_commands")

    @hookimpl
    async def status_fields(self, app: Soniq) -> dict[str, int]:
        await self.harm_later("status_fields")
        return {"jobs": len(await app.jobs())}

    @hookimpl
    async def inspect_fields(self, app: Soniq, job: object) -> None:
        await self.harm_later("inspect_fields")

    @hookimpl
    async def present(self, value: object) -> None:
        await self.harm_later("present")

    @hookimpl
    async def acted(self, action: object) -> None:
        await self.harm_later("acted")

    @hookimpl
    async def workers_lost(self, workers: object) -> None:
        await self.harm_later("workers_lost")

    @hookimpl
    def adapt_connection(self, obj: object) -> None:
        self.harm("adapt_connection")

    @hookimpl
    async def around_enqueue(self, batch: object) -> AsyncIterator[None]:
        self.harm("around_enqueue")
        yield
        self.harm("leaving around_enqueue")

    @hookimpl
    def dedup_key(self, job: NewJob) -> None:
        self.harm("dedup_key")

    @hookimpl
    async def claimed(self, batch: Sequence[JobContext]) -> None:
        await self.harm_later("claimed")

    @hookimpl
    async def around_job(self, ctx: JobContext) -> AsyncIterator[None]:
        await self.harm_later("around_job")
        try:
            yield
        finally:
            await self.harm_later("leaving around_job")

    @hookimpl
    async def before_job(self, ctx: JobContext) -> None:
        await self.harm_later("before_job")

    @hookimpl
    async def after_job(self, ctx: JobContext, result: object) -> None:
        await self.harm_later("after_job")

    @hookimpl
    async def on_error(self, ctx: JobContext, error: BaseException) -> None:
        await self.harm_later("on_error")

    @hookimpl
    async def retry_delay(self, ctx: JobContext, error: BaseException) -> float:
        await self.harm_later("retry_delay")
        return 0.0

    @hookimpl
    async def settle_tx(self, tx: object, outcomes: Sequence[Outcome]) -> None:
        await self.harm_later("settle_tx")

    @hookimpl
    async def enqueue_tx(self, tx: object, jobs: object) -> None:
        await self.harm_later("enqueue_tx")

    @hookimpl
    async def owed_tx(self, tx: object, events: Sequence[OwedEvent]) -> None:
        await self.harm_later("owed_tx")

    @hookimpl
    async def settled(self, outcomes: Sequence[Outcome]) -> None:
        await self.harm_later("settled")

    @hookimpl
    async def forgotten_tx(self, tx: object, jobs: object) -> None:
        await self.harm_later("forgotten_tx")


STARTING = (
    "lifespan",
    "withdraw_hooks",
    "started",
    "jobs",
    "hookspecs",
    "serializers",
    "result_stores",
    "provide",
    "configure_job",
    "housekeeping",
    "migrations",
)
ATTEMPT = (
    "claimed", "around_job", "leaving around_job", "before_job", "after_job", "on_error",
    "retry_delay", "settle_tx", "settled", "entering a provider", "leaving a provider", "a task",
)  # fmt: skip
ENQUEUE = (
    "adapt_connection", "around_enqueue", "leaving around_enqueue", "dedup_key", "enqueue_tx",
)  # fmt: skip
APART = (
    "database_url", "background_tasks", "register_commands", "leaving lifespan", "status_fields",
    "inspect_fields", "present", "acted", "workers_lost", "forgotten_tx",
    "owed_tx",
)  # fmt: skip
FAILS_ATTEMPTS = ("around_job", "entering a provider", "leaving a provider")


def test_each_hook_of_the_contract_is_tried() -> None:
    assert set(HOOKS) <= {*STARTING, *ATTEMPT, *ENQUEUE, *APART}
    assert set(HOOKS) <= vars(Hostile).keys()


def by_name(kind: object) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


class Jobs:
    """A job that succeeds and one that does not, and how often each ran."""

    def __init__(self, app: Soniq) -> None:
        self.runs: list[str] = []

        @app.job(max_attempts=2, retry=None, name="good")
        async def good(thing: Own) -> str:
            self.runs.append("good")
            return "fine"

        @app.job(max_attempts=2, name="bad")
        async def bad(thing: Own) -> None:
            self.runs.append("bad")
            raise LookupError("bad")

        self.good, self.bad = good, bad


async def survives(app: Soniq, hostile: Hostile, limit: float = 30.0) -> None:
    """A worker runs both jobs to their ends, and others afterwards, without harm."""
    jobs = Jobs(app)
    async with working(app, concurrency=2) as worker:
        ids = [await app.enqueue(jobs.good), await app.enqueue(jobs.bad)]
        good, bad = [await finished(app, each, limit) for each in ids]
        assert hostile.harmed > 0
        fails = hostile.hook in FAILS_ATTEMPTS
        assert (good["status"], bad["status"]) == ("dead" if fails else "done", "dead")
        assert (good["attempt"], bad["attempt"]) == (2 if fails else 1, 2)
        assert jobs.runs.count("bad") <= 2
        assert jobs.runs.count("good") <= (2 if fails else 1) + 3 * (hostile.hook == "settle_tx")

        hostile.hook = ""
        another = await finished(app, await app.enqueue(jobs.good), limit)
        assert (another["status"], another["result"]) == ("done", "fine")
        assert not worker.done()


@pytest.mark.parametrize("kind", KINDS, ids=by_name)
@pytest.mark.parametrize("hook", ATTEMPT)
async def test_whatever_a_hook_raises_jobs_and_worker_go_on(
    make_app: MakeApp, hook: str, kind: type[BaseException]
) -> None:
    hostile = Hostile(hook, kind)
    app = make_app(plugins=[hostile], max_attempts=2)
    if hook == "settle_tx":
        await settled_without_it(app, hostile)
    else:
        await survives(app, hostile)


async def settled_without_it(app: Soniq, hostile: Hostile) -> None:
    """What a plugin refuses three times is settled without it, and its refusal fails the attempt
    before that.
    """
    jobs = Jobs(app)
    async with working(app, concurrency=2) as worker:
        statuses = [
            await finished(app, await app.enqueue(each), 30) for each in (jobs.good, jobs.bad)
        ]
        assert [each["status"] for each in statuses] == ["dead", "dead"]
        assert all(jobs.runs.count(each) <= 2 for each in ("good", "bad"))
        hostile.hook = ""
        assert (await finished(app, await app.enqueue(jobs.good), 30))["status"] == "done"
        assert not worker.done()


@pytest.mark.parametrize("stubborn", [False, True])
@pytest.mark.parametrize(
    "hook",
    [
        "claimed",
        "around_job",
        "leaving around_job",
        "before_job",
        "after_job",
        "on_error",
        "retry_delay",
        "settled",
    ],
)
async def test_however_long_a_hook_waits_jobs_and_worker_go_on(
    make_app: MakeApp, hook: str, stubborn: bool
) -> None:
    hostile = Hostile(hook, None, stubborn=stubborn)
    await survives(make_app(plugins=[hostile], hook_timeout=0.05), hostile)


@pytest.mark.parametrize("stubborn", [False, True])
@pytest.mark.parametrize("hook", ["entering a provider", "leaving a provider"])
async def test_a_provider_that_waits_for_ever_fails_the_attempt_and_is_named(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, hook: str, stubborn: bool
) -> None:
    monkeypatch.setattr("soniq.hooks.dispatch.HANGS_AFTER", 0.05)
    hostile = Hostile(hook, None, stubborn=stubborn)
    app = make_app(plugins=[hostile])
    await survives(app, hostile)
    (failed,) = [job for job in await app.jobs(name="good") if job["status"] == "dead"]
    assert failed["error"] is not None
    assert failed["error"]["type"] == "soniq.errors.HookTimeout"
    assert f"the provider of 'thing' is {'left' if 'leaving' in hook else 'entered'}" in str(
        failed["error"]["message"]
    )


@pytest.mark.parametrize("stubborn", [False, True])
async def test_an_enqueue_tx_that_waits_for_ever_is_told_to_the_caller(
    make_app: MakeApp, stubborn: bool
) -> None:
    hostile = Hostile("enqueue_tx", None, stubborn=stubborn)
    app = make_app(plugins=[hostile], hook_timeout=0.05)
    jobs = Jobs(app)
    with pytest.raises(PluginError, match="enqueue_tx of hostile failed: HookTimeout"):
        await in_time(app.enqueue(jobs.good))
    assert await app.jobs() == []
    hostile.hook = ""
    assert (await status_of(app, await app.enqueue(jobs.good)))["status"] == "queued"


async def test_a_settle_tx_that_waits_for_ever_is_given_up(make_app: MakeApp) -> None:
    hostile = Hostile("settle_tx", None)
    await settled_without_it(make_app(plugins=[hostile], hook_timeout=0.05), hostile)


@pytest.mark.parametrize("kind", KINDS, ids=by_name)
@pytest.mark.parametrize("hook", STARTING)
async def test_whatever_a_hook_raises_at_the_start_the_error_names_the_plugin(
    make_app: MakeApp, hook: str, kind: type[BaseException]
) -> None:
    hostile = Hostile(hook, kind)
    app = make_app(plugins=[hostile])
    Jobs(app)
    with pytest.raises(FROM_OUTSIDE if kind is FROM_OUTSIDE else PluginError) as caught:
        await app.start()
    if isinstance(caught.value, PluginError):
        assert caught.value.plugin == "hostile"
    hostile.hook = ""
    await app.start()


@pytest.mark.parametrize("kind", NOT_FROM_OUTSIDE, ids=by_name)
async def test_a_database_url_that_raises_names_the_plugin(
    make_app: MakeApp, kind: type[BaseException]
) -> None:
    app = make_app(plugins=[Hostile("database_url", kind)], database_url=None)
    with pytest.raises(PluginError) as caught:
        await app.start()
    assert caught.value.plugin == "hostile"


@pytest.mark.parametrize("kind", NOT_FROM_OUTSIDE, ids=by_name)
async def test_background_tasks_that_cannot_be_made_keep_the_worker_from_starting(
    make_app: MakeApp, kind: type[BaseException]
) -> None:
    app = make_app(plugins=[Hostile("background_tasks", kind)])
    with pytest.raises(PluginError) as caught:
        await app.run_worker(run_once=True)
    assert caught.value.plugin == "hostile"


@pytest.mark.parametrize("kind", KINDS, ids=by_name)
async def test_a_lifespan_that_raises_while_leaving_lets_the_others_leave(
    make_app: MakeApp, kind: type[BaseException]
) -> None:
    left: list[str] = []

    class Other:
        name = "other"

        @hookimpl
        async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
            yield
            left.append("other")

    app = make_app(plugins=[Other(), Hostile("leaving lifespan", kind)])
    await app.start()
    await app.close()
    assert left == ["other"]


@pytest.mark.parametrize("kind", KINDS, ids=by_name)
@pytest.mark.parametrize("hook", ["entering housekeeping", "leaving housekeeping"])
async def test_whatever_housekeeping_raises_a_worker_works_and_ends(
    make_app: MakeApp, hook: str, kind: type[BaseException]
) -> None:
    hostile = Hostile(hook, kind)
    app = make_app(plugins=[hostile])
    job_id = await app.enqueue(Jobs(app).good)
    await app.run_worker(run_once=True)
    assert hostile.harmed > 0
    assert (await status_of(app, job_id))["status"] == "done"


@pytest.mark.parametrize("kind", [*NOT_FROM_OUTSIDE, None], ids=by_name)
@pytest.mark.parametrize("hook", ["status_fields", "inspect_fields"])
async def test_whatever_a_report_does_the_others_are_shown_and_a_warning_names_the_plugin(
    make_app: MakeApp, make_plugin: MakePlugin, hook: str, kind: type[BaseException] | None
) -> None:
    hostile = Hostile(hook, kind)
    other = make_plugin("other", **{hook: lambda: {"fine": True}})
    app = make_app(plugins=[hostile, other])
    job = await status_of(app, await app.enqueue(Jobs(app).good))
    values = (app, job) if hook == "inspect_fields" else (app,)

    found = await in_time(report(load_plugins(app), hook, 0.1, *values))
    assert hostile.harmed > 0
    assert found.plugins == {"other": {"fine": True}}
    (warning,) = found.warnings
    assert "hostile" in warning


@pytest.mark.parametrize("kind", [*NOT_FROM_OUTSIDE, None], ids=by_name)
async def test_whatever_present_does_nothing_is_shown_of_the_value(
    make_app: MakeApp, kind: type[BaseException] | None
) -> None:
    hostile = Hostile("present", kind)
    app = make_app(plugins=[hostile], hook_timeout=0.1)
    shown = await in_time(presented(app, "good", "args", {"a": "b"}))
    assert hostile.harmed > 0
    assert shown == "*** (present of hostile failed)"


@pytest.mark.parametrize("kind", [*KINDS, None], ids=by_name)
async def test_whatever_acted_does_what_a_person_did_stays(
    make_app: MakeApp, kind: type[BaseException] | None
) -> None:
    hostile = Hostile("acted", kind)
    app = make_app(plugins=[hostile], hook_timeout=0.1)
    await in_time(app.pause("mail"))
    assert hostile.harmed > 0
    assert [*(await app.overview())["paused"]] == ["mail"]


@pytest.mark.parametrize("kind", [*KINDS, None], ids=by_name)
async def test_whatever_workers_lost_does_the_worker_goes_on(
    make_app: MakeApp,
    schema: str,
    connection: "asyncpg.Connection[asyncpg.Record]",
    kind: type[BaseException] | None,
) -> None:
    hostile = Hostile("workers_lost", kind)
    app = make_app(plugins=[hostile], hook_timeout=0.1)
    job_id = await app.enqueue(Jobs(app).good)
    await lose_a_worker(connection, schema)
    async with working(app):

        async def harmed() -> bool:
            return hostile.harmed > 0

        await eventually(harmed)
        assert (await finished(app, job_id))["status"] == "done"
    assert not await connection.fetchval(f"select count(*) from {schema}.worker")


@pytest.mark.parametrize("kind", [*KINDS, None], ids=by_name)
async def test_whatever_forgotten_tx_does_the_job_is_kept_and_the_person_hears_of_it(
    make_app: MakeApp, kind: type[BaseException] | None
) -> None:
    hostile = Hostile("forgotten_tx", kind)
    app = make_app(plugins=[hostile], hook_timeout=0.1)
    job_id = await app.enqueue(Jobs(app).good)
    await app.run_worker(run_once=True)

    with pytest.raises(SoniqError, match="hostile"):
        await in_time(app.delete(job_id))
    assert hostile.harmed > 0
    assert (await status_of(app, job_id))["status"] == "done"

    hostile.hook = ""
    await app.delete(job_id)
    assert await app.get_job_status(job_id) is None


@pytest.mark.parametrize("kind", [*KINDS, None], ids=by_name)
async def test_whatever_owed_tx_does_the_worker_works_and_it_is_told_again(
    make_app: MakeApp,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    kind: type[BaseException] | None,
) -> None:
    hostile = Hostile("owed_tx", kind)
    app = make_app(plugins=[hostile], hook_timeout=0.1)
    jobs = Jobs(app)
    await app.start()
    await connection.execute(
        f"insert into {schema}.owed (plugin, kind, what) values ('hostile', 'note', '{{}}')"
    )
    async with working(app):
        await eventually(lambda: connection.fetchval(f"select max(tries) > 1 from {schema}.owed"))
        assert (await finished(app, await app.enqueue(jobs.good)))["status"] == "done"
        hostile.hook = ""
        await eventually(lambda: connection.fetchval(f"select count(*) = 0 from {schema}.owed"), 30)
    assert hostile.harmed > 1


@pytest.mark.parametrize("stubborn", [False, True])
@pytest.mark.parametrize("hook", ["lifespan", "database_url"])
async def test_a_start_that_hangs_in_a_plugin_has_an_end_and_a_name(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, hook: str, stubborn: bool
) -> None:
    monkeypatch.setattr("soniq.startup.START_LIMIT", 0.1)
    arguments = {"database_url": None} if hook == "database_url" else {}
    app = make_app(plugins=[Hostile(hook, None, stubborn=stubborn)], **arguments)
    with pytest.raises(SoniqError, match="hostile"):
        await in_time(app.start())


async def test_a_close_that_hangs_in_a_plugin_has_an_end(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.startup.START_LIMIT", 0.1)
    app = make_app(plugins=[Hostile("leaving lifespan", None)])
    await app.start()
    await in_time(app.close())


@pytest.mark.parametrize("kind", KINDS, ids=by_name)
@pytest.mark.parametrize("hook", ENQUEUE)
async def test_whatever_a_hook_of_an_enqueue_raises_goes_to_the_caller_and_the_app_goes_on(
    make_app: MakeApp, hook: str, kind: type[BaseException]
) -> None:
    hostile = Hostile(hook, kind)
    app = make_app(plugins=[hostile])
    jobs = Jobs(app)
    await app.start()
    async with app.connection() as connection, connection.transaction():
        options: dict[str, Any] = {"connection": connection} if hook == "adapt_connection" else {}
        # Of what generators may not raise, Python makes a RuntimeError
        raised = (PluginError,) if hook == "enqueue_tx" else (kind, RuntimeError)
        with pytest.raises(raised):
            await app.enqueue(jobs.good, **options)
    expected = 1 if hook == "leaving around_enqueue" else 0  # it was inserted before
    assert len(await app.jobs()) == expected
    hostile.hook = ""
    assert (await status_of(app, await app.enqueue(jobs.good)))["status"] == "queued"


CLI = """
class Plugin:
    @hookimpl
    def register_commands(self, cli):
        raise {kind}("harm")
"""


@pytest.mark.parametrize("kind", ["ValueError", "SystemExit", "GeneratorExit", "BaseException"])
def test_commands_that_a_plugin_cannot_add_are_a_warning(
    install: Install, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(soniq, "_looked", False)
    install("harmful", CLI.format(kind=kind))
    ran = CliRunner().invoke(soniq, ["--help"])
    assert ran.exit_code == 0
    assert "harmful" in ran.output


IMPORTS = [
    "import sys\nsys.exit(3)",
    "raise BaseException('no')",
    "class Plugin:\n    def __init__(self): raise SystemExit(3)",
]


@pytest.mark.parametrize("source", IMPORTS)
def test_a_plugin_that_ends_the_process_while_it_is_imported_is_named(
    install: Install, source: str
) -> None:
    install("harmful", source)
    with pytest.raises(PluginError, match="harmful") as caught:
        load_plugins(Soniq())
    assert "SONIQ_PLUGINS=-harmful" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS, ids=by_name)
@pytest.mark.parametrize("place", ["loads", "put", "retry="])
async def test_whatever_a_serializer_a_store_or_a_policy_raises_is_judged(
    make_app: MakeApp, place: str, kind: type[BaseException]
) -> None:
    class Odd:
        name = "odd"

        def dumps(self, value: object) -> bytes:
            return b"null"

        def loads(self, data: bytes, type: Any) -> Any:
            if place == "loads":
                raise kind("harm")
            return None

        async def put(self, ctx: JobContext, data: bytes) -> bytes | None:
            if place == "put":
                raise kind("harm")
            return None

        async def get(self, reference: bytes) -> bytes:
            return reference

        async def delete(self, references: Sequence[bytes]) -> None: ...

    class OddPlugin:
        name = "odd"

        @hookimpl
        def serializers(self) -> list[Odd]:
            return [Odd()]

        @hookimpl
        def result_stores(self) -> list[Odd]:
            return [Odd()]

    app = make_app(plugins=[OddPlugin()], unknown_jobs="allow")

    def policy(ctx: JobContext, error: BaseException) -> float:
        raise kind("harm")

    @app.job(name="one", max_attempts=2, retry=policy if place == "retry=" else 0)
    async def one() -> int:
        if place == "retry=":
            raise LookupError("to be tried again")
        return 1

    @app.job()
    async def other() -> None: ...

    job_id = await app.enqueue(one)
    if place == "loads":
        async with app.connection() as connection:
            await connection.execute(f"update {app.settings.schema}.job set serializer = 'odd'")
    async with working(app):
        assert (await finished(app, job_id, 30))["status"] == "dead"
        await finished(app, await app.enqueue(other), 30)


async def test_a_settle_tx_that_ends_the_transaction_is_refused_by_name(make_app: MakeApp) -> None:
    told: list[Outcome] = []

    class Ending:
        name = "ending"

        @hookimpl
        async def settle_tx(
            self, tx: "asyncpg.Connection[Any]", outcomes: Sequence[Outcome]
        ) -> None:
            await tx.execute("rollback")

        @hookimpl
        def settled(self, outcomes: Sequence[Outcome]) -> None:
            told.extend(outcomes)

    app = make_app(plugins=[Ending()])

    @app.job(max_attempts=1)
    async def one() -> None: ...

    async with working(app):
        status = await finished(app, await app.enqueue(one), 30)
    assert (status["status"], [each.status for each in told]) == ("dead", ["dead"])
    assert status["error"] is not None
    assert "ending ended the transaction" in status["error"]["message"]
