"""withdraw_hooks: a plugin is without hooks that it does not need in this app."""

from collections.abc import AsyncIterator, Sequence

import pytest

from soniq import JobContext, Soniq, hookimpl
from soniq.errors import PluginError
from soniq.plugin import Outcome, TransactionConnection
from tests.core.hooks.support import MakeApp, MakePlugin, Run


class Audit:
    """Hears of settlements, except behind a PgBouncer."""

    name = "audit"

    def __init__(self) -> None:
        self.calls: list[str] = []

    @hookimpl
    def withdraw_hooks(self, app: Soniq) -> Sequence[str]:
        return ("settle_tx", "before_job") if app.settings.pgbouncer else ()

    @hookimpl
    def settle_tx(self, tx: TransactionConnection, outcomes: Sequence[Outcome]) -> None:
        self.calls.append("settle_tx")

    @hookimpl
    def before_job(self, ctx: JobContext) -> None:
        self.calls.append("before_job")

    @hookimpl
    def after_job(self, ctx: JobContext) -> None:
        self.calls.append("after_job")


async def test_a_hook_that_was_withdrawn_is_as_if_it_were_not_there(
    make_app: MakeApp, run: Run
) -> None:
    audit = Audit()
    app = make_app(plugins=[audit], pgbouncer=True)

    @app.job(name="noop")
    async def noop() -> None: ...

    assert (await run(app, noop))["status"] == "done"
    assert audit.calls == ["after_job"]
    assert app._runtime is not None
    assert not app._runtime._settle_tx  # so that settling takes no transaction of its own
    compiled = app._runtime.registry.get("noop")
    assert compiled is not None
    assert not compiled.before_job


async def test_it_is_asked_at_each_start(make_app: MakeApp, run: Run) -> None:
    audit = Audit()
    app = make_app(plugins=[audit], pgbouncer=True)

    @app.job(name="noop")
    async def noop() -> None: ...

    await run(app, noop)
    async with app.override(pgbouncer=False):
        audit.calls.clear()
        await run(app, noop)
        assert audit.calls == ["before_job", "after_job", "settle_tx"]


async def test_it_is_asked_inside_the_lifespan(make_app: MakeApp, make_plugin: MakePlugin) -> None:
    seen = []

    async def lifespan() -> AsyncIterator[None]:
        seen.append("lifespan")
        yield

    def withdraw_hooks() -> list[str]:
        seen.append("withdraw_hooks")
        return ["migrations"]

    def migrations() -> list[object]:
        raise LookupError

    plugin = make_plugin(
        "late", lifespan=lifespan, withdraw_hooks=withdraw_hooks, migrations=migrations
    )
    await make_app(plugins=[plugin]).start()
    assert seen == ["lifespan", "withdraw_hooks"]


@pytest.mark.parametrize("name", ["setle_tx", "settled", "lifespan"])
async def test_one_that_it_cannot_withdraw_ends_the_start(
    name: str, make_app: MakeApp, make_plugin: MakePlugin
) -> None:
    async def lifespan() -> AsyncIterator[None]:
        yield

    plugin = make_plugin(
        "wrong", lifespan=lifespan, withdraw_hooks=lambda: [name], before_job=lambda: None
    )
    with pytest.raises(
        PluginError,
        match=rf"withdraw_hooks of wrong: it cannot withdraw '{name}'; it can withdraw before_job$",
    ):
        await make_app(plugins=[plugin]).start()
