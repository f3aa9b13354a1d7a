"""jobs: what a plugin defines is a job of the app, under the plugin's name."""

import pytest

from soniq import Jobs, Soniq, UnknownJob, hookimpl
from soniq.errors import JobDefinitionError, PluginError
from tests.core.hooks.support import MakeApp, MakePlugin, Run


class Cleaner:
    """A plugin with jobs of its own."""

    name = "cleaner"

    def __init__(self) -> None:
        self.offered = Jobs(queue="upkeep")
        self.sweep = self.offered.job(self._sweep)
        self.dust = self.offered.job(name="dust.all", max_attempts=1)(self._dust)
        self.mop = self.offered.job(name="cleaner.mop")(self._dust)

    @hookimpl
    def jobs(self) -> Jobs:
        return self.offered

    async def _sweep(self, room: str) -> str:
        return f"swept {room}"

    def _dust(self) -> str:
        return "dusted"


async def test_they_are_enqueued_and_run_like_any_other_under_the_plugins_name(
    make_app: MakeApp, run: Run
) -> None:
    cleaner = Cleaner()
    app = make_app(plugins=[cleaner])
    swept, dusted = await run(app, cleaner.sweep, room="hall"), await run(app, cleaner.dust)
    assert (swept["job_name"], swept["queue"]) == ("cleaner._sweep", "upkeep")
    assert (dusted["job_name"], dusted["max_attempts"]) == ("cleaner.dust.all", 1)
    assert [swept["result"], dusted["result"]] == ["swept hall", "dusted"]

    await cleaner.mop.enqueue()
    await app.enqueue("cleaner._sweep", room="yard")
    assert await app.run_worker(run_once=True) == 2
    assert set(app.registry) == {"cleaner._sweep", "cleaner.dust.all", "cleaner.mop"}


async def test_they_stay_the_same_when_the_app_is_started_again(make_app: MakeApp) -> None:
    app = make_app(plugins=[cleaner := Cleaner()])
    for _ in range(2):
        async with app:
            await app.enqueue(cleaner.sweep, room="hall")
    assert {job["job_name"] for job in await app.jobs()} == {"cleaner._sweep"}


async def test_two_apps_may_have_the_plugin(make_app: MakeApp, run: Run) -> None:
    cleaner = Cleaner()
    apps = [make_app(plugins=[cleaner]), make_app(plugins=[cleaner])]
    for app in apps:
        assert (await run(app, cleaner.dust))["job_name"] == "cleaner.dust.all"


async def test_they_go_with_the_plugin(make_app: MakeApp) -> None:
    app = make_app(plugins=[cleaner := Cleaner()])
    await app.start()
    async with app.override(plugins=[]):
        with pytest.raises(UnknownJob):
            await app.enqueue(cleaner.dust)
        assert app.registry == {}
        with pytest.raises(UnknownJob):
            cleaner.dust.app()
    await app.enqueue(cleaner.dust)


async def test_one_with_the_name_of_a_job_of_the_app_ends_the_start(make_app: MakeApp) -> None:
    app = make_app(plugins=[Cleaner()])

    @app.job(name="cleaner.mop")
    async def mop() -> None: ...

    for _ in range(2):
        with pytest.raises(JobDefinitionError, match=r"two jobs are named 'cleaner.mop': .*test_j"):
            await app.start()


async def test_a_job_of_the_app_with_the_name_of_one_of_them_is_refused(make_app: MakeApp) -> None:
    app = make_app(plugins=[Cleaner()])
    await app.start()
    with pytest.raises(JobDefinitionError, match="of the plugin 'cleaner'"):

        @app.job(name="cleaner.mop")
        async def mop() -> None: ...


async def test_two_of_one_name_end_the_start(make_app: MakeApp, make_plugin: MakePlugin) -> None:
    offered = Jobs()
    for name in ("double.x", "x"):

        @offered.job(name=name)
        async def job() -> None: ...

    app = make_app(plugins=[make_plugin("double", jobs=lambda: offered)])
    with pytest.raises(JobDefinitionError, match=r"two jobs are named 'double\.x'"):
        await app.start()


@pytest.mark.parametrize("included", [False, True], ids=["another plugin", "an app"])
async def test_jobs_that_are_anothers_end_the_start(
    make_app: MakeApp, make_plugin: MakePlugin, app: Soniq, included: bool
) -> None:
    offered = Jobs()

    @offered.job(name="x")
    async def job() -> None: ...

    plugins = [make_plugin("one", jobs=lambda: offered)]
    if included:
        app.include(offered)
    else:
        plugins.append(make_plugin("two", jobs=lambda: offered))
    with pytest.raises(JobDefinitionError, match=r"belong to .* already; make a Jobs for each"):
        await make_app(plugins=plugins).start()


async def test_what_it_returns_is_a_jobs(make_app: MakeApp, make_plugin: MakePlugin) -> None:
    await make_app(plugins=[make_plugin("none", jobs=lambda: None)]).start()
    app = make_app(plugins=[make_plugin("list", jobs=lambda: ())])
    with pytest.raises(PluginError, match=r"jobs of list returned \(\); it returns a Jobs"):
        await app.start()
