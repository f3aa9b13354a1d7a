"""hookspecs: hooks that a plugin specifies, others implement, and the plugin calls."""

import asyncio
from types import ModuleType
from typing import Any

import pytest

from soniq import Snooze, Soniq
from soniq.errors import PluginError
from soniq.plugin import hookimpl, hookspec
from tests.core.hooks.support import Install, MakeApp, MakePlugin


@hookspec.observer
def bells_rang(tower: str, times: int) -> None:
    """After the bells of a tower. An error is logged."""


@hookspec.first_result
def bells_tune(tower: str) -> str:  # type: ignore[empty-body]
    """What they play. The first result wins. An error goes to the caller."""


@hookspec.collected
def bells_wishes() -> list[str]:  # type: ignore[empty-body]
    """What people want to hear. An error goes to the caller."""


class Bells:
    """A plugin with hooks of its own."""

    name = "bells"

    @hookimpl
    def hookspecs(self) -> list[Any]:
        return [bells_rang, bells_tune, bells_wishes]

    @hookimpl
    def bells_wishes(self) -> list[str]:
        return ["westminster"]


class Neighbour:
    """A plugin that implements hooks of another: by name, and checked by types."""

    name = "neighbour"

    def __init__(self) -> None:
        self.heard: list[object] = []

    @hookimpl
    async def bells_rang(self, times: int) -> None:
        await asyncio.sleep(0)
        self.heard.append(times)

    @bells_tune.impl
    def anything(self, tower: str) -> str:
        return f"tune of {tower}"

    @hookimpl(tryfirst=True)
    async def bells_wishes(self) -> list[str]:
        return ["silence"]


async def test_others_implement_them_by_name_and_the_plugin_calls_them(make_app: MakeApp) -> None:
    app = make_app(plugins=[Bells(), neighbour := Neighbour()])
    await app.start()
    await bells_rang.call(app, "north", times=3)
    assert neighbour.heard == [3]
    assert await bells_tune.call(app, "south") == "tune of south"
    wishes = await bells_wishes.call(app)
    assert wishes == [("neighbour", ["silence"]), ("bells", ["westminster"])]


async def test_the_application_implements_them_with_its_decorator(make_app: MakeApp) -> None:
    app = make_app(plugins=[Bells(), Neighbour()])
    heard: list[object] = []

    @app.hook(bells_rang)
    def listen(tower: str, times: int) -> None:
        heard.append((tower, times))

    @app.hook(bells_tune)
    async def tune(tower: str) -> str:
        return "ours"

    await bells_rang.call(app, "north", 3)
    assert heard == [("north", 3)]
    assert await bells_tune.call(app, "south") == "ours"  # the nearest is asked first

    @app.hook(bells_rang)
    def also(tower: str, times: int) -> None:
        heard.append("also")

    await app.jobs()
    await bells_rang.call(app, "north", 4)
    assert heard == [("north", 3), ("north", 4), "also"]


async def test_a_plugin_that_nobody_listens_to_hears_nothing(make_app: MakeApp) -> None:
    app = make_app(plugins=[Bells()])
    await bells_rang.call(app, "north", 3)
    assert await bells_tune.call(app, "north") is None


async def test_a_call_with_other_arguments_is_an_error(make_app: MakeApp) -> None:
    app = make_app(plugins=[Bells(), Neighbour()])
    with pytest.raises(TypeError, match="times"):
        await bells_rang.call(app, "north")  # type: ignore[call-arg]


def fails(**_: object) -> Any:
    raise LookupError("no rope")


async def hangs() -> None:
    await asyncio.Event().wait()


def failing(how: Any) -> dict[str, Any]:
    return {"bells_rang": lambda: how(), "bells_tune": lambda: how(), "bells_wishes": lambda: how()}


@pytest.mark.parametrize(
    ("how", "words"),
    [(fails, "LookupError"), (hangs, r"longer than 0\.05 s \(hook_timeout\)")],
    ids=["raises", "hangs"],
)
async def test_an_error_in_one_harms_nobody_or_goes_to_the_caller_by_its_kind(
    make_app: MakeApp,
    make_plugin: MakePlugin,
    caplog: pytest.LogCaptureFixture,
    how: Any,
    words: str,
) -> None:
    plugins = [Bells(), make_plugin("broken", **failing(how)), neighbour := Neighbour()]
    app = make_app(plugins=plugins, hook_timeout=0.05)
    await bells_rang.call(app, "north", 3)
    assert "bells_rang of broken failed" in caplog.text
    assert neighbour.heard == [3]
    with pytest.raises(PluginError, match=f"bells_wishes of broken failed: .*{words}") as caught:
        await bells_wishes.call(app)
    assert caught.value.plugin == "broken"
    with pytest.raises(PluginError, match=f"bells_tune of broken failed: .*{words}"):
        await bells_tune.call(make_app(plugins=plugins[:2], hook_timeout=0.05), "north")


async def test_who_asks_one_by_one_goes_on_without_those_that_fail(
    make_app: MakeApp, make_plugin: MakePlugin
) -> None:
    broken = make_plugin("broken", bells_wishes=lambda: fails())
    hanging = make_plugin("hanging", bells_wishes=hangs)
    silent = make_plugin("silent", bells_wishes=lambda: None)
    app = make_app(plugins=[broken, hanging, Neighbour(), silent, Bells()], hook_timeout=0.05)
    found: dict[str, object] = {}
    for plugin, ask in bells_wishes.calls(app):
        try:
            found[plugin] = await ask()
        except PluginError as error:
            found[plugin] = error.plugin
    assert found == {
        "neighbour": ["silence"],
        "broken": "broken",
        "hanging": "hanging",
        "silent": None,
        "bells": ["westminster"],
    }


async def test_a_signal_in_an_observer_has_no_effect(
    make_app: MakeApp, make_plugin: MakePlugin, caplog: pytest.LogCaptureFixture
) -> None:
    def bells_rang_(tower: str) -> None:
        raise Snooze(1)

    await bells_rang.call(
        make_app(plugins=[Bells(), make_plugin("snoozes", bells_rang=bells_rang_)]), "north", 3
    )
    assert "has no effect there" in caplog.text


async def test_they_are_called_in_the_hook_started_too(make_app: MakeApp) -> None:
    class Early(Bells):
        @hookimpl
        async def started(self, app: Soniq) -> None:
            await bells_rang.call(app, "north", 1)

    app = make_app(plugins=[neighbour := Neighbour(), Early()])
    await app.start()
    assert neighbour.heard == [1]


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("implementation", "words"),
    [
        ("bells_rung", "no hook named 'bells_rung'; did you mean 'bells_rang'?"),
        ("bells_rang", "bells_rang has no argument 'time'; did you mean 'times'?"),
    ],
)
async def test_an_implementation_of_a_hook_that_there_is_not_ends_the_start(
    make_app: MakeApp, make_plugin: MakePlugin, implementation: str, words: str
) -> None:
    def function(time: int) -> None: ...

    app = make_app(plugins=[make_plugin("typo", **{implementation: function}), Bells()])
    with pytest.raises(PluginError) as caught:
        await app.start()
    assert words in str(caught.value)
    assert caught.value.plugin == "typo"


async def test_without_the_plugin_its_hooks_are_unknown_except_where_that_is_said(
    make_app: MakeApp,
) -> None:
    with pytest.raises(PluginError, match="no hook named 'bells_"):
        await make_app(plugins=[Neighbour()]).start()

    class Polite:
        name = "polite"

        @hookimpl(optionalhook=True)
        def bells_rang(self, times: int) -> None: ...

    await make_app(plugins=[Polite()]).start()


async def test_a_function_of_the_application_that_no_plugin_calls_is_told(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()

    @app.hook(bells_rang)
    def listen(tower: str, times: int) -> None: ...

    await app.start()
    assert "no plugin of this app has the hook bells_rang" in caplog.text


@hookspec.observer
def rang() -> None:
    """Of no plugin, by its name."""


@hookspec.observer
def bells_default(tower: str = "north") -> None:
    """With a default."""


@hookspec.observer
async def bells_later() -> None:
    """An async def."""


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (rang, "rang must begin with bells_"),
        (bells_default, "tower: str = 'north' must be a plain argument, without a default"),
        (bells_later, "bells_later is written with def"),
        ("bells_rang", "it returned 'bells_rang'; a hook is made with @hookspec"),
    ],
)
async def test_a_specification_that_cannot_be_ends_the_start(
    make_app: MakeApp, make_plugin: MakePlugin, spec: Any, words: str
) -> None:
    app = make_app(plugins=[make_plugin("bells", hookspecs=lambda: [spec])])
    with pytest.raises(PluginError) as caught:
        await app.start()
    assert words in str(caught.value)
    assert caught.value.plugin == "bells"


async def test_two_plugins_cannot_have_one_hook(make_app: MakeApp, make_plugin: MakePlugin) -> None:
    @hookspec.observer
    def a_b_c() -> None:
        """Of both, by their names."""

    both: list[ModuleType] = [make_plugin(name, hookspecs=lambda: [a_b_c]) for name in ("a", "a-b")]
    with pytest.raises(PluginError, match="hookspecs of a-b: a_b_c is a hook of the plugin 'a'"):
        await make_app(plugins=both).start()


@pytest.mark.parametrize(
    ("hookspecs", "words"),
    [
        (lambda: fails(), "hookspecs of bells failed: LookupError: no rope"),
        (hangs, "hookspecs is called outside an event loop; write it with def"),
        (lambda: 7, "hookspecs of bells failed: TypeError"),
    ],
)
async def test_hookspecs_that_fail_or_are_async_end_the_start(
    make_app: MakeApp, make_plugin: MakePlugin, hookspecs: Any, words: str
) -> None:
    with pytest.raises(PluginError, match=words) as caught:
        await make_app(plugins=[make_plugin("bells", hookspecs=hookspecs)]).start()
    assert caught.value.plugin == "bells"


async def test_an_installed_plugin_may_implement_one_that_is_passed_or_comes_later(
    make_app: MakeApp, install: Install, calls: list[str]
) -> None:
    install(
        "aaa",
        "class Plugin:\n    @hookimpl\n    def bells_rang(self, tower): calls.append(tower)\n",
    )
    await bells_rang.call(make_app(discover=True, plugins=[Bells()]), "north", 3)
    assert calls == ["north"]
