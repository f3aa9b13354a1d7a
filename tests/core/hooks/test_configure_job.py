"""configure_job: typed options, what the author left open, and which hooks concern a job."""

from collections.abc import Callable, Iterator

import msgspec
import pytest

from soniq import Backoff, Soniq, hookimpl
from soniq.errors import JobDefinitionError, PluginError
from soniq.plugin import JobDefinition, NewJob
from tests.core.hooks.support import MakeApp, MakePlugin, Run


class Limit(msgspec.Struct, frozen=True):
    """A typed option of a plugin here."""

    concurrency: int = 1


class Every(msgspec.Struct, frozen=True):
    """Another."""

    seconds: float


@pytest.fixture
def app_with(
    make_app: MakeApp, make_plugin: MakePlugin
) -> Callable[[Callable[[JobDefinition], None]], Soniq]:
    """An app with a plugin that configures jobs so."""

    def app_with(configure: Callable[[JobDefinition], None]) -> Soniq:
        def configure_job(job: JobDefinition) -> None:
            configure(job)

        return make_app(plugins=[make_plugin("configures", configure_job=configure_job)])

    return app_with


AppWith = Callable[[Callable[[JobDefinition], None]], Soniq]


async def test_it_reads_the_typed_options_of_each_job_once(app_with: AppWith) -> None:
    seen: list[object] = []
    app = app_with(lambda job: seen.append((job.name, job.option(Limit), job.option(Every))))

    @app.job(Limit(concurrency=3), Every(60), name="both", queue="q")
    async def both() -> None: ...

    @app.job(Limit(), name="one")
    async def one() -> None: ...

    @app.job(name="none")
    async def none() -> None: ...

    await app.enqueue(one)
    await app.run_worker(run_once=True)
    assert seen == [("both", Limit(3), Every(60)), ("one", Limit(1), None), ("none", None, None)]


async def test_it_fills_what_the_author_left_open(app_with: AppWith) -> None:
    def configure(job: JobDefinition) -> None:
        job.queue = job.queue or "mail"
        job.priority = job.priority if job.priority is not None else 7
        job.max_attempts = job.max_attempts or 2
        job.retry = job.retry or Backoff(first=3600, jitter=0)
        job.tags = job.tags or ("tagged",)

    app = app_with(configure)

    async def handler() -> None: ...

    open_, said = (
        app.job(name="open")(handler),
        app.job(name="said", queue="q", priority=0, max_attempts=9)(handler),
    )
    for job, expected in ((open_, ("mail", 7, 2, ["tagged"])), (said, ("q", 0, 9, ["tagged"]))):
        status = await app.get_job_status(await app.enqueue(job))
        assert status is not None
        assert (
            status["queue"],
            status["priority"],
            status["max_attempts"],
            status["tags"],
        ) == expected


async def test_what_an_earlier_one_filled_a_later_one_sees(
    make_app: MakeApp, make_plugin: MakePlugin
) -> None:
    seen: list[object] = []

    def fills(job: JobDefinition) -> None:
        seen.append(job.queue)
        job.queue = "first"

    def looks(job: JobDefinition) -> None:
        seen.append(job.queue)

    app = make_app(
        plugins=[make_plugin("one", configure_job=fills), make_plugin("two", configure_job=looks)]
    )

    @app.job()
    async def handler() -> None: ...

    await app.start()
    assert seen == [None, "first"]


class Everywhere:
    """A plugin with all the hooks that run for one job, which leaves out those jobs that have no
    `Limit`.
    """

    name = "everywhere"

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        if job.option(Limit) is None:
            job.exclude(
                self.name,
                "around_job",
                "before_job",
                "after_job",
                "on_error",
                "retry_delay",
                "dedup_key",
            )

    @hookimpl
    def around_job(self) -> Iterator[None]:
        self.calls.append("around_job")
        try:
            yield
        finally:
            self.calls.append("left")

    @hookimpl
    def before_job(self) -> None:
        self.calls.append("before_job")

    @hookimpl
    def after_job(self) -> None:
        self.calls.append("after_job")

    @hookimpl
    def on_error(self) -> None:
        self.calls.append("on_error")

    @hookimpl
    def retry_delay(self) -> float:
        self.calls.append("retry_delay")
        return 0

    @hookimpl
    def dedup_key(self, job: NewJob) -> None:
        self.calls.append("dedup_key")


async def test_a_job_can_be_taken_out_of_a_plugins_hooks(
    make_app: MakeApp, calls: list[str], run: Run
) -> None:
    app = make_app(plugins=[Everywhere(calls)])
    app.before_job(lambda: calls.append("own"))
    failures = iter([True, False, False])

    async def handler() -> None:
        if next(failures):
            raise ValueError

    await run(app, app.job(Limit(), name="in")(handler))
    assert calls == [
        "dedup_key",
        "around_job", "before_job", "own", "on_error", "retry_delay", "left",
        "around_job", "before_job", "own", "after_job", "left",
    ]  # fmt: skip
    calls.clear()
    await run(app, app.job(name="out")(handler))
    assert calls == ["own"]


async def test_an_error_ends_the_start_and_names_the_plugin_and_the_job(app_with: AppWith) -> None:
    def configure(job: JobDefinition) -> None:
        raise ValueError("concurrency must be 1 or more")

    app = app_with(configure)

    @app.job(name="the-job")
    async def handler() -> None: ...

    for _ in range(2):
        with pytest.raises(
            PluginError,
            match=r"configure_job of configures failed for the-job: .*must be 1 or more",
        ):
            await app.start()


async def test_an_error_for_a_job_that_was_added_later_is_not_forgotten(app_with: AppWith) -> None:
    def configure(job: JobDefinition) -> None:
        if job.option(Limit):
            raise JobDefinitionError("no limits here", job=job.name)

    app = app_with(configure)
    await app.start()

    @app.job(Limit())
    async def handler() -> None: ...

    for _ in range(2):
        with pytest.raises(JobDefinitionError, match="no limits here"):
            await app.jobs()
