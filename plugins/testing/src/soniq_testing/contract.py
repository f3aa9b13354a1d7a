"""The checker of plugins: what the contract asks of one, tried on a real database."""

import asyncio
import inspect
import logging
import re
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from types import ModuleType

import click

from soniq import Soniq, SoniqError
from soniq.plugin import Hooks, load_plugins

from .database import app_on_test_schema, database_url_for_tests
from .leftovers import Leftovers
from .neighbours import ForeignConnections, Hanging, Raising
from .scenario import SUCCEEDS, Scenario

AMONG = " among plugins that raise and hang"
HANG, LIMIT = 0.5, "(hook_timeout)"
"""Seconds after which observers are ended among plugins that hang, and what says so: slow is
allowed there.
"""

PATIENCE = 10.0
"""Seconds that all may take longer where it is not for the plugin alone to be quick."""


class ContractError(AssertionError):
    """A plugin does not keep to the contract; `findings` says where, each in a line."""

    def __init__(self, plugin: str, findings: Sequence[str]) -> None:
        lines = "\n".join(f"- {finding}" for finding in findings)
        super().__init__(f"the plugin {plugin!r} does not keep to the contract:\n{lines}")
        self.plugin = plugin
        self.findings = list(findings)


class CheckFailed(SoniqError):
    """The check fails without the plugin, too, so that nothing can be said about it."""


async def check_plugin(
    plugin: object,
    *,
    options: Sequence[object] = (),
    threads: Collection[str] = (),
    database_url: str | None = None,
    timeout: float = 30.0,
) -> None:
    """Run a plugin through the contract. Raises `ContractError` with all that was found,
    and `CheckFailed` where the check itself cannot be done.

    Its hooks exist, with the right arguments. Jobs of every kind end as they do without it, alone
    and among plugins that raise and hang. It raises in no hook. After close, nothing is left
    behind; it can be started again.

    `plugin` is what `Soniq(plugins=[plugin])` takes. `options`: typed options for the jobs that are
    run. `threads`: how the names of threads begin that a library starts and leaves. `database_url`:
    as in `app_on_test_schema`. `timeout`: seconds that starting, closing and working off the jobs
    may take, each.
    """
    name, findings = _as_written(plugin)
    if not findings:
        url = database_url or database_url_for_tests()
        without, findings = await _Check("nobody", [], options, threads, url).run(
            timeout + PATIENCE
        )
        if findings:
            raise CheckFailed(f"the check fails without the plugin: {'; '.join(findings)}")
        check = _Check(name, [plugin], options, threads, url)
        alone, findings = await check.run(timeout)
        findings += _differences(without, alone, "")
        if not findings:
            among, findings = await check.run(timeout + PATIENCE, among=True)
            findings = [f"{finding}{AMONG}" for finding in findings if LIMIT not in finding]
            findings += _differences(without, among, AMONG)
    if findings:
        raise ContractError(name, list(dict.fromkeys(findings)))


# --- what can be seen without a database ---------------------------------------------------------


def _as_written(plugin: object) -> tuple[str, list[str]]:
    """The name of a plugin, and what is wrong with its functions."""
    try:
        hooks = load_plugins(Soniq(plugins=[plugin], discover=False))
    except SoniqError as error:
        name = str(getattr(error, "plugin", ""))
        return name, list(_each_by_itself(plugin, name)) or [str(error)]
    (loaded,) = [each for each in hooks.plugins if each.source == "passed"]
    findings = (
        [] if loaded.hooks else ["it implements no hook: no function of it is marked @hookimpl"]
    )
    return loaded.name, [*findings, *_unmarked(plugin), *_commands(hooks, loaded.name)]


def _each_by_itself(plugin: object, name: str) -> Iterator[str]:
    """What is wrong with each function of a plugin of this name that cannot be loaded: loading says
    the first only.
    """
    try:
        made = plugin() if inspect.isclass(plugin) else plugin
    except Exception:  # which is what loading says
        return

    for attribute in dir(made):
        function = inspect.getattr_static(made, attribute, None)
        if hasattr(getattr(function, "__func__", function), "soniq_impl"):
            alone = ModuleType("alone")
            vars(alone)["name"] = name
            for each in {attribute, "hookspecs"} & set(dir(made)):
                setattr(alone, each, getattr(made, each))
            try:
                load_plugins(Soniq(plugins=[alone], discover=False))
            except SoniqError as error:
                yield str(error).partition(": ")[2]


def _unmarked(plugin: object) -> Iterator[str]:
    """Functions that are named like a hook, and are none."""
    for hook in Hooks.names:
        function = inspect.getattr_static(plugin, hook, None)
        imported = (
            isinstance(plugin, ModuleType)
            and getattr(function, "__module__", None) != plugin.__name__
        )
        if inspect.isfunction(function) and not imported and not hasattr(function, "soniq_impl"):
            yield f"{hook} is named like a hook, and is not marked @hookimpl"


def _commands(hooks: Hooks, name: str) -> Iterator[str]:
    for each in hooks.implementations("register_commands"):
        try:
            if each.plugin == name:
                each.call(click.Group())
        except Exception as error:
            yield f"register_commands raises {type(error).__name__}: {error}"


# --- what shows when it is used ------------------------------------------------------------------


class _Check:
    """One plugin in one app, which is used again and again: a plugin may belong to one app only."""

    def __init__(
        self,
        name: str,
        plugins: Sequence[object],
        options: Sequence[object],
        threads: Collection[str],
        database_url: str,
    ) -> None:
        self._name = name
        self._plugins = (*plugins, ForeignConnections())
        self._threads = threads
        self._url = database_url
        self._app = Soniq(plugins=self._plugins, discover=False, poll_interval=0.1, grace=1)
        self._scenario = Scenario(self._app, options)

    async def run(
        self, timeout: float, *, among: bool = False
    ) -> tuple[Mapping[str, str], list[str]]:
        """How jobs end, and what the plugin does wrong; `among` plugins that raise and hang, or
        alone.
        """
        findings: list[str] = []
        ended: Mapping[str, str] = {}
        server: tuple[str, int | None] | None = None
        before = Leftovers(self._threads)
        app, scenario, step = self._app, self._scenario, partial(_step, findings, timeout)
        meanwhile = app.override()
        if among:
            plugins = (*_neighbours("before"), *self._plugins, *_neighbours("after"))
            meanwhile = app.override(plugins=plugins, hook_timeout=HANG)

        with self._listening(findings):
            async with meanwhile, app_on_test_schema(app, database_url=self._url):
                async with step("starting"):
                    await app.start()
                    server = app.server_address
                if server is not None:
                    async with step("running the jobs", 3 * timeout + PATIENCE):
                        ended = await scenario.run(self._serializers(), timeout)
                    async with step("closing"):
                        await app.close()
                if ended:
                    async with step("starting again, after a close"):
                        await app.start()
                        await scenario.run_one()
                    async with step("closing again"):
                        await app.close()
        findings += [f"after close, {left}" for left in await before.found(server)]
        return ended, findings

    def _serializers(self) -> list[str]:
        """The names of the plugin's own serializers."""
        offered = dict(load_plugins(self._app).collect("serializers")).get(self._name, [])
        return [each.name for each in offered]

    @contextmanager
    def _listening(self, findings: list[str]) -> Iterator[None]:
        """Add what Soniq logs about the plugin: errors in its hooks and tasks, which harm no job.
        The rest is noise.
        """
        listener = _Listener(self._name, findings)
        logger = logging.getLogger("soniq")
        logger.addHandler(listener)
        propagate, logger.propagate = logger.propagate, False
        try:
            yield
        finally:
            logger.removeHandler(listener)
            logger.propagate = propagate


def _neighbours(place: str) -> list[object]:
    return [Raising(f"raises {place}"), Hanging(f"hangs {place}")]


@asynccontextmanager
async def _step(
    findings: list[str], timeout: float, what: str, longer: float | None = None
) -> AsyncIterator[None]:
    """Do something that may fail or hang; that is a finding, and what comes next is tried."""
    seconds = longer or timeout
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except Exception as error:
        said = (
            f"takes longer than {seconds:g} s"
            if limit.expired()
            else f"fails: {type(error).__name__}: {error}"
        )
        findings.append(f"{what} {said}")


class _Listener(logging.Handler):
    """Hears of the errors in one plugin's hooks."""

    def __init__(self, plugin: str, findings: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._of_plugin = re.compile(rf"\bof {re.escape(plugin)}(?![\w-])")
        self._findings = findings

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if self._of_plugin.search(text) and text not in self._findings:
            self._findings.append(text)
            logging.getLogger().handle(record)  # with its traceback


def _differences(without: Mapping[str, str], found: Mapping[str, str], where: str) -> list[str]:
    """Each kind of job that ended otherwise than it does without the plugin."""
    expected = {kind: without.get(kind, without[SUCCEEDS]) for kind in found}
    return [
        f"{kind}{where}: {ended}; without the plugin: {expected[kind]}"
        for kind, ended in found.items()
        if ended != expected[kind]
    ]
