"""A plugin that is installed and not made use of costs a process none of its libraries: neither
when it is loaded, as for each command, nor in an app, nor in its worker.
"""

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

NEEDED = {"asyncpg", "click", "msgspec", "pluggy", "typing_extensions"}
"""What the core is made of."""
LIGHT = {"schedules": {"cronsim"}}
"""What a plugin is made of, and is imported with it."""
UNCONFIGURED = {
    name: value for name, value in os.environ.items() if not name.startswith(("SONIQ_", "OTEL_"))
}
PLUGINS = sorted(point.name for point in entry_points(group="soniq"))

LOADED = """
import json, sys, sysconfig
from importlib.metadata import entry_points

PLACES = tuple({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
known = set(sys.modules)

def libraries():
    names = set(sys.modules) - known
    known.update(names)
    files = {name: getattr(sys.modules[name], "__file__", None) or "" for name in names}
    return sorted({name.partition(".")[0] for name in names if files[name].startswith(PLACES)})

import soniq.plugin, soniq.cli.commands
found = {"core": libraries()}
for point in sorted(entry_points(group="soniq"), key=lambda point: point.name):
    plugin = point.load()
    if isinstance(plugin, type):
        repr(plugin())
    found[point.name] = libraries()
"""
USED = """
import asyncio
import asyncpg
from click.testing import CliRunner
from soniq import JobContext, Soniq

async def main():
    app = Soniq()

    @app.job()
    async def add(a: int, b: list[str], ctx: JobContext) -> dict[str, int]:
        return {"sum": a}

    @app.job()
    def other(ctx: JobContext) -> None: ...

    async with app:
        found["start"] = libraries()
        await app.enqueue(add, 1, b=["x"])
        connection = await asyncpg.connect(app.database_url)
        async with connection.transaction():
            await app.enqueue(other, connection=connection)
        await connection.close()
        assert await app.run_worker(run_once=True) == 2
        found["worker"] = libraries()

asyncio.run(main())
for words in (["--help"], ["plugins"], ["plugins", "--hooks"], ["status"]):
    done = CliRunner().invoke(soniq.cli.commands.soniq, words)
    assert done.exit_code == 0, done.output
    found[" ".join(words)] = libraries()
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """The libraries that each plugin brings along in a fresh process, and those of the core."""
    return _found(LOADED)


def _found(program: str, **environment: str) -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nprint(json.dumps(found))"],
        env={**UNCONFIGURED, **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_is_loaded_without_its_libraries(
    plugin: str, loaded: dict[str, list[str]]
) -> None:
    assert set(loaded[plugin]) - NEEDED <= LIGHT.get(plugin, set())


def test_the_core_is_loaded_with_what_it_is_made_of(loaded: dict[str, list[str]]) -> None:
    assert set(loaded["core"]) <= NEEDED


def test_an_app_its_worker_and_the_commands_need_none(database_url: str, schema: str) -> None:
    found = _found(LOADED + USED, SONIQ_DATABASE_URL=database_url, SONIQ_SCHEMA=schema)
    more = {each: set(found[each]) - NEEDED for each in found if each not in PLUGINS}
    assert {each: libraries for each, libraries in more.items() if libraries} == {}
    assert len(more) == 7
