"""Starting an app: settings, plugins, the URL, the plugins' lifespans, the pool, the tables."""

import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from soniq import settings as settings_
from soniq.errors import ConfigurationError, PluginError
from soniq.hooks.dispatch import Manager, answer, cancels_task, leave, within_limit
from soniq.hooks.hooks import Hooks
from soniq.job.job import App
from soniq.postgres.database import Database
from soniq.postgres.schema import Schema
from soniq.registry import Registry
from soniq.runtime import Runtime
from soniq.secret import Secret
from soniq.settings import Settings
from soniq.text import one_line
from soniq.tracebacks import shown, text_of

log = logging.getLogger("soniq")

START_LIMIT = 60.0
"""Seconds that a plugin has to name the database, to enter its lifespan, to do what it does at the
start, and to leave its lifespan.
"""


class Starting(App, Protocol):
    """An app that is to be started."""

    def _load_plugins(self) -> Hooks:
        """The app's plugins, loaded and checked afresh."""
        ...


async def start(
    app: Starting, arguments: Mapping[str, object], registry: Registry, setup: bool | None = None
) -> Runtime:
    """Start an app: settings, plugins, a URL, the plugins' lifespans, the pool, the tables."""
    settings = settings_.load(arguments if setup is None else {**arguments, "setup": setup})
    for name, meant in settings_.misspelt(os.environ):
        log.warning(
            "%s in the environment is not a setting; did you mean %s?", one_line(name), meant
        )

    hooks = app._load_plugins()
    for hook in hooks.unspecified:
        log.warning("no plugin of this app has the hook %s: its functions are never called", hook)
    async with AsyncExitStack() as stack:
        database, schema = await _reach(stack, app, settings, hooks)
        await schema.ensure()
        runtime = Runtime(app, settings, database, registry, hooks)
        runtime.stack = stack.pop_all()
        return runtime
    raise AssertionError("a lifespan swallowed an error")


async def announce(runtime: Runtime) -> None:
    """Tell the plugins that the app can be used."""
    for each in runtime.hooks.implementations("started"):
        await answer("started", each, (runtime.app,), START_LIMIT, "")


@asynccontextmanager
async def schema_of(app: Starting) -> AsyncIterator[Schema]:
    """What an app needs in its database, to be looked at or made while the app itself is not
    started.
    """
    async with AsyncExitStack() as stack:
        _, schema = await _reach(stack, app, app.settings, app._load_plugins())
        yield schema


async def _reach(
    stack: AsyncExitStack, app: App, settings: Settings, hooks: Hooks
) -> tuple[Database, Schema]:
    """The database, opened inside the plugins' lifespans, and what the app and its plugins need
    there.
    """
    url = settings.database_url
    if url is None:
        url = await _provided_url(app, hooks)
    for each in hooks.implementations("lifespan"):
        await _enter_lifespan(stack, Manager(each), app)
    for plugin, names in hooks.collect("withdraw_hooks", app):
        hooks.withdraw(plugin, names)
    database = Database(url, settings)
    await database.open()
    stack.push_async_callback(database.close)
    return database, Schema(database, dict(hooks.collect("migrations")))


async def _provided_url(app: App, hooks: Hooks) -> str:
    for each in hooks.implementations("database_url"):
        url = await answer("database_url", each, (app,), START_LIMIT, "")
        if url is not None:
            url = Secret(url)
            settings_.check_url(url)
            return url
    raise ConfigurationError(
        "no database is given: set SONIQ_DATABASE_URL or pass"
        " Soniq(database_url='postgresql://...'), or install soniq-embedded for a PostgreSQL of"
        " this project's own"
    )


async def _enter_lifespan(stack: AsyncExitStack, manager: Manager, app: App) -> None:
    try:
        leaving = await within_limit(manager.enter(app), START_LIMIT, "")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or cancels_task(error):
            raise
        text = text_of(error) or type(error).__name__
        raise PluginError(
            f"lifespan of {manager.plugin} failed: {text}", plugin=manager.plugin
        ) from error
    if leaving is None:
        return

    async def exit_(_: object, error: BaseException | None, __: object) -> None:
        try:
            await within_limit(leave(leaving, error), START_LIMIT, "")
        except BaseException as failure:
            if cancels_task(failure):
                raise
            if failure is not error:
                log.error(
                    "lifespan of %s failed while leaving: %s",
                    manager.plugin,
                    shown(failure),
                    exc_info=failure,
                )

    stack.push_async_exit(exit_)
