"""In which order the implementations of a hook are called."""

from collections.abc import Callable, Iterator

import pytest

from soniq import JobContext, Soniq, hookimpl
from soniq.plugin import NewJob
from tests.core.hooks.support import Install, MakeApp, MakePlugin, Run


class Normal:
    """A plugin that notes its name."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self.name = name
        self.calls = calls

    @hookimpl
    def before_job(self) -> None:
        self.calls.append(self.name)


class First(Normal):
    @hookimpl(tryfirst=True)
    def before_job(self) -> None:
        self.calls.append(self.name)


class Last(Normal):
    @hookimpl(trylast=True)
    def before_job(self) -> None:
        self.calls.append(self.name)


INSTALLED = """
class Plugin:
    @hookimpl({options})
    def before_job(self):
        calls.append("{name}")

    @hookimpl({options})
    def dedup_key(self, job):
        calls.append("{name}")
"""


async def test_discovered_plugins_come_by_name_then_those_passed_then_the_application(
    make_app: MakeApp, install: Install, calls: list[str], run: Run
) -> None:
    for name in ("zulu", "alpha"):
        install(name, INSTALLED.format(name=name, options=""))
    app = make_app(discover=True, plugins=[Normal("passed b", calls), Normal("passed a", calls)])
    app.before_job(lambda: calls.append("own b"))
    app.before_job(lambda: calls.append("own a"))

    @app.job(unique=True)
    async def handler() -> None:
        calls.append("handler")

    await run(app, handler)
    assert calls == [
        "alpha", "zulu",  # dedup_key, of which the passed plugins have none
        "alpha", "zulu", "passed b", "passed a", "own b", "own a", "handler",
    ]  # fmt: skip


async def test_tryfirst_and_trylast_count_within_a_group_only(
    make_app: MakeApp, install: Install, calls: list[str], run: Run
) -> None:
    for name, options in (
        ("a", "trylast=True"),
        ("b", ""),
        ("c", "tryfirst=True"),
        ("d", ""),
        ("e", "tryfirst=True"),
    ):
        install(name, INSTALLED.format(name=name, options=options))
    passed = [
        Last("p last", calls),
        Normal("p", calls),
        First("p first", calls),
        Last("p last 2", calls),
    ]
    app = make_app(discover=True, plugins=[*passed, First("p first 2", calls)])
    app.before_job(lambda: calls.append("own"))

    @app.job()
    async def handler() -> None: ...

    await app.enqueue(handler)
    calls.clear()
    await app.run_worker(run_once=True)
    assert calls == [
        "c",
        "e",
        "b",
        "d",
        "a",
        "p first",
        "p first 2",
        "p",
        "p last",
        "p last 2",
        "own",
    ]


@pytest.mark.parametrize("hook", ["before_job", "after_job", "on_error"])
async def test_the_applications_functions_run_in_the_order_in_which_they_were_added(
    app: Soniq, hook: str, calls: list[str], run: Run
) -> None:
    for name in ("one", "two", "three"):
        getattr(app, hook)(_noting(calls, name))

    @app.job(max_attempts=1)
    async def handler() -> None:
        if hook == "on_error":
            raise ValueError

    await run(app, handler)
    assert calls == ["one", "two", "three"]


async def test_the_same_order_holds_for_context_managers_which_leave_in_reverse(
    make_app: MakeApp, install: Install, calls: list[str], run: Run, make_plugin: MakePlugin
) -> None:
    install(
        "found",
        """
class Plugin:
    @hookimpl
    async def around_job(self):
        calls.append("enter found")
        yield
        calls.append("leave found")
""",
    )

    def passed(ctx: JobContext) -> Iterator[None]:
        calls.append("enter passed")
        yield
        calls.append("leave passed")

    app = make_app(discover=True, plugins=[make_plugin("passed", around_job=passed)])

    @app.around_job
    def own() -> Iterator[None]:
        calls.append("enter own")
        yield
        calls.append("leave own")

    @app.job()
    async def handler() -> None:
        calls.append("handler")

    await run(app, handler)
    assert calls == [
        "enter found", "enter passed", "enter own", "handler", "leave own", "leave passed",
        "leave found",
    ]  # fmt: skip


async def test_a_hook_where_the_first_result_wins_asks_the_nearest_first(
    make_app: MakeApp, install: Install, calls: list[str], make_plugin: MakePlugin
) -> None:
    for name in ("beta", "alpha"):
        install(name, INSTALLED.format(name=name, options=""))

    def asked(name: str) -> object:
        def dedup_key(job: NewJob) -> None:
            calls.append(name)

        return make_plugin(name, dedup_key=dedup_key)

    app = make_app(discover=True, plugins=[asked("passed b"), asked("passed a")])

    @app.job(unique=True)
    async def handler() -> None: ...

    first = await app.enqueue(handler)
    assert calls == ["passed b", "passed a", "alpha", "beta"]
    assert await app.enqueue(handler) == first, "the core's default was asked last"


async def test_each_app_has_its_own_plugins_and_hooks(
    make_app: MakeApp, calls: list[str], make_plugin: MakePlugin, run: Run
) -> None:
    one = make_app(plugins=[make_plugin("same", before_job=lambda: calls.append("plugin of one"))])
    two = make_app(plugins=[make_plugin("same", before_job=lambda: calls.append("plugin of two"))])
    one.before_job(lambda: calls.append("own of one"))

    async def handler() -> None: ...

    first, second = one.job(name="job")(handler), two.job(name="job")(handler)
    await run(one, first)
    assert calls == ["plugin of one", "own of one"]
    calls.clear()
    await run(two, second)
    assert calls == ["plugin of two"]


async def test_one_plugin_may_serve_two_apps(make_app: MakeApp, calls: list[str], run: Run) -> None:
    shared = Normal("shared", calls)
    for app in (make_app(plugins=[shared]), make_app(plugins=[shared])):

        @app.job(name="job")
        async def handler() -> None: ...

        await run(app, handler)
    assert calls == ["shared", "shared"]


async def test_hooks_and_jobs_may_be_added_between_two_runs_and_plugins_stay_what_they_are(
    make_app: MakeApp, install: Install, calls: list[str], run: Run
) -> None:
    install(
        "counted",
        """
class Plugin:
    def __init__(self):
        calls.append("made")
        self.open = False

    @hookimpl
    async def lifespan(self):
        self.open = True
        yield

    @hookimpl
    def configure_job(self, job):
        calls.append(f"configured {job.name}")

    @hookimpl
    def before_job(self):
        assert self.open
        calls.append("before")
""",
    )
    app = make_app(discover=True)

    @app.job(name="first")
    async def first() -> None: ...

    await run(app, first)
    app.before_job(lambda: calls.append("own"))

    @app.job(name="second")
    async def second() -> None: ...

    await run(app, second)
    assert calls == ["made", "configured first", "before", "configured second", "before", "own"]


def _noting(calls: list[str], name: str) -> Callable[[], None]:
    return lambda: calls.append(name)
