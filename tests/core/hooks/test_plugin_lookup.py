"""app.plugin: the plugin of a class, from the first call on the one that the app works with; and
handlers that ask for it by annotation.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, nullcontext

import pytest

from soniq import InvalidOption, JobContext, Soniq, hookimpl
from soniq.errors import PluginError, PluginNotLoaded
from tests.core.hooks.support import Install, MakeApp, Run


class Counter:
    """A plugin that callers use: it counts its starts."""

    name = "counter"

    def __init__(self, starts: int = 0) -> None:
        self.starts = starts

    @hookimpl
    async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
        assert app.plugin(Counter) is self
        self.starts += 1
        yield


class Loud(Counter):
    """A plugin made of another."""

    name = "loud"


INSTALLED = """
class Plugin:
    starts = 0

    @hookimpl
    async def lifespan(self, app):
        self.starts += 1
        yield
"""


def of(module: str) -> type[Counter]:
    """The class of an installed plugin."""
    found: type[Counter] = __import__(module).Plugin
    return found


@pytest.mark.parametrize("passed", [Counter(), Counter], ids=["an instance", "a class"])
async def test_a_passed_plugin_is_found_before_the_start_and_is_the_one_that_starts(
    make_app: MakeApp, passed: object
) -> None:
    app = make_app(plugins=[passed])
    counter = app.plugin(Counter)
    before = counter.starts
    assert app.plugin(Counter) is counter
    for _ in range(2):
        async with app:
            assert app.plugin(Counter) is counter
    assert counter.starts == before + 2
    assert isinstance(passed, type) or counter is passed


async def test_an_installed_plugin_is_found_before_the_start_and_is_the_one_that_starts(
    make_app: MakeApp, install: Install
) -> None:
    app = make_app(discover=True)
    plugin = app.plugin(of(install("count", INSTALLED)))
    for _ in range(2):
        async with app:
            assert app.plugin(type(plugin)) is plugin
    assert plugin.starts == 2


async def test_each_app_has_a_plugin_of_its_own(make_app: MakeApp, install: Install) -> None:
    kind = of(install("count", INSTALLED))
    apps = [make_app(discover=True), make_app(discover=True)]
    assert len({id(app.plugin(kind)) for app in apps}) == 2


async def test_plugins_in_place_of_others_are_found_meanwhile(make_app: MakeApp) -> None:
    app = make_app(plugins=[Counter])
    before = app.plugin(Counter)
    async with app.override(plugins=[other := Counter()]):
        assert app.plugin(Counter) is other
    assert app.plugin(Counter) is before


async def test_a_plugin_is_found_by_a_class_above_its_own(make_app: MakeApp) -> None:
    loud = Loud()
    assert make_app(plugins=[loud]).plugin(Counter) is loud


async def test_one_of_several_of_a_class_is_an_error(make_app: MakeApp) -> None:
    app = make_app(plugins=[Loud, Counter])
    assert type(app.plugin(Loud)) is Loud
    with pytest.raises(InvalidOption, match="several plugins of this app are a Counter: loud, cou"):
        app.plugin(Counter)


async def test_a_plugin_that_the_app_does_not_have_is_an_error_that_says_what_to_do(
    make_app: MakeApp,
) -> None:
    with pytest.raises(PluginNotLoaded, match="pass it, as Soniq\\(plugins=\\[Counter") as caught:
        make_app().plugin(Counter)
    assert caught.value.plugin == "counter"
    with pytest.raises(InvalidOption, match="by its class; got 'counter'"):
        make_app().plugin("counter")  # type: ignore[arg-type]


async def test_a_blocked_plugin_is_an_error_that_says_what_blocks_it(
    make_app: MakeApp, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = of(install("count", INSTALLED))
    monkeypatch.setenv("SONIQ_PLUGINS", "-count")
    with pytest.raises(PluginNotLoaded, match=r"'count' is not loaded: .* by SONIQ_PLUGINS=-count"):
        make_app(discover=True).plugin(kind)


async def test_a_plugin_that_cannot_be_loaded_is_an_error_and_is_asked_again(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(plugins=[Counter])
    with monkeypatch.context() as patched:
        patched.setattr(Counter, "starts", property(), raising=False)
        with pytest.raises(PluginError, match="the plugin 'counter' cannot be created"):
            app.plugin(Counter)
    assert app.plugin(Counter).starts == 0


@pytest.mark.parametrize("threaded", [False, True])
async def test_a_handler_gets_the_plugin_that_it_asks_for(
    make_app: MakeApp, run: Run, threaded: bool
) -> None:
    app = make_app(plugins=[Counter(41)])

    async def handler(n: int, counter: Counter) -> int:
        return counter.starts + n

    def plain(n: int, counter: Counter | None) -> int:
        return (counter.starts if counter else 0) + n

    job = app.job(name="add")(plain if threaded else handler)
    assert (await run(app, job, n=1))["result"] == 43


async def test_what_a_plugin_provides_for_its_class_takes_the_place_of_the_plugin(
    make_app: MakeApp, run: Run
) -> None:
    class Own(Counter):
        @hookimpl
        def provide(
            self, annotation: object
        ) -> Callable[[JobContext], AbstractContextManager[Counter]] | None:
            return (lambda ctx: nullcontext(Own(7))) if annotation is Own else None

    app = make_app(plugins=[Own()])

    @app.job(name="starts")
    async def starts(own: Own) -> int:
        return own.starts

    assert (await run(app, starts))["result"] == 7


async def test_a_handler_that_asks_for_a_plugin_which_is_not_loaded_ends_the_start(
    make_app: MakeApp,
) -> None:
    app = make_app()

    @app.job(name="starts")
    async def starts(counter: Counter) -> int:
        return counter.starts

    with pytest.raises(PluginNotLoaded, match="Counter"):
        await app.start()
