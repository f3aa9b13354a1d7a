"""What all of it stands on: PostgreSQL, the tables, plugins and settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from soniq import Soniq
from soniq.plugin import LoadedPlugin, load_plugins
from soniq_dashboard.catalog import Catalog, read_catalog
from soniq_dashboard.extending import dashboard_system_panels
from soniq_dashboard.web.view import View

from . import Page

FRESH = 15.0
"""Seconds for which what PostgreSQL says is shown again."""
FRESH_PLUGINS = 3_600.0
"""The same of the plugins, which stay what they are while the process runs."""
SECRET = ("database_url",)
"""Settings that are not shown."""
DOCTOR = "doctor"
"""The plugin that knows what holds back cleaning up."""


@dataclass(frozen=True, slots=True)
class Installed:
    """The plugins of the app, and how many migrations each knows."""

    plugins: Sequence[LoadedPlugin]
    migrations: Mapping[str, int]


async def read(view: View) -> Mapping[str, object]:
    catalog = await view.shared.get("catalog", lambda: read_catalog(view.app), FRESH)
    installed = await view.shared.get("plugins", lambda: _installed(view.app), FRESH_PLUGINS)
    plugins = [each for each in installed.plugins if each.source != "default"]
    return {
        "server": catalog.server,
        "migrated": catalog.migrated,
        "pending": _pending(catalog, installed),
        "tables": _tables(catalog),
        "plugins": plugins,
        "panels": await view.extensions.panels(dashboard_system_panels, view.user.may),
        "doctor": any(each.name == DOCTOR and not each.blocked for each in plugins),
        "settings": _settings(view.app),
    }


async def _installed(app: Soniq) -> Installed:
    hooks = load_plugins(app)
    migrations = {plugin: len(each) for plugin, each in hooks.collect("migrations")}
    return Installed(hooks.plugins, migrations)


def _pending(catalog: Catalog, installed: Installed) -> Mapping[str, int]:
    """How many migrations of plugins are still to be made, by plugin."""
    if catalog.migrated is None:
        return {}
    there = {each["owner"]: each["version"] for each in catalog.migrated}
    missing = {
        plugin: known - there.get(plugin, 0) for plugin, known in installed.migrations.items()
    }
    return {plugin: each for plugin, each in missing.items() if each > 0}


def _tables(catalog: Catalog) -> Mapping[str, object] | None:
    """The tables, partitions of history together and apart, and how large all are."""
    if catalog.relations is None:
        return None
    partitions = sorted(
        (each for each in catalog.relations if each["bounds"] is not None),
        key=lambda each: each["name"],
    )
    return {
        "size": sum(each["size"] for each in catalog.relations),
        "partitions": partitions,
        "of_partitions": sum(each["size"] for each in partitions),
        "others": [each for each in catalog.relations if each["bounds"] is None],
    }


def _settings(app: Soniq) -> Mapping[str, object]:
    """The settings in force by name, but for those that are secret."""
    settings = app.settings
    return {
        name: getattr(settings, name) for name in settings.__struct_fields__ if name not in SECRET
    }


PAGE = Page("/system", "system.html", read, "System", "s")
