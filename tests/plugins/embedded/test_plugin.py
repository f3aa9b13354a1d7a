"""The plugin's hooks, called as an app calls them."""

import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from soniq.errors import SoniqWarning
from soniq_embedded import EmbeddedPlugin
from soniq_embedded.project import project_folder
from tests.plugins.embedded.processes import fetch, postmaster_pid

SCRIPT = """
from soniq import Soniq

eq = Soniq()

@eq.job(name="mail")
def mail() -> None: ...

eq.sync.enqueue(mail)
print("enqueued")
"""


class App:
    """All that the plugin asks of an app is that it is one."""


async def test_an_app_without_a_url_gets_the_projects_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "my project"
    project.mkdir()
    (project / "pyproject.toml").touch()
    monkeypatch.chdir(project)
    plugin, app = EmbeddedPlugin(), App()
    folder = project_folder(project)
    with pytest.warns(SoniqWarning, match="SONIQ_DATABASE_URL") as warned:
        url = await plugin.database_url(app)
    assert str(folder) in str(warned[0].message)
    async with asynccontextmanager(plugin.lifespan)(app):
        assert await fetch(url, "select 1") == 1
    assert postmaster_pid(folder) is None


async def test_a_closed_app_can_start_again_without_another_warning(folder: Path) -> None:
    plugin, app = EmbeddedPlugin(folder), App()
    with pytest.warns(SoniqWarning):
        await fetch(await plugin.database_url(app), "create table kept as select 42 as answer")
    async with asynccontextmanager(plugin.lifespan)(app):
        pass
    assert postmaster_pid(folder) is None
    url = await plugin.database_url(app)
    async with asynccontextmanager(plugin.lifespan)(app):
        assert await fetch(url, "select answer from kept") == 42
    assert postmaster_pid(folder) is None


@pytest.mark.filterwarnings("ignore::soniq.errors.SoniqWarning")
async def test_the_server_lives_until_the_last_app_has_closed(folder: Path) -> None:
    plugin, first, second = EmbeddedPlugin(folder), App(), App()
    url = await plugin.database_url(first)
    assert await plugin.database_url(second) == url
    async with asynccontextmanager(plugin.lifespan)(first):
        async with asynccontextmanager(plugin.lifespan)(second):
            pass
        assert await fetch(url, "select 1") == 1
    assert postmaster_pid(folder) is None


@pytest.mark.filterwarnings("ignore::soniq.errors.SoniqWarning")
async def test_an_app_whose_start_failed_halfway_starts_again_with_the_same_use(
    folder: Path,
) -> None:
    plugin, app = EmbeddedPlugin(folder), App()
    assert await plugin.database_url(app) == await plugin.database_url(app)
    async with asynccontextmanager(plugin.lifespan)(app):
        pass
    assert postmaster_pid(folder) is None


async def test_an_app_with_a_url_of_its_own_starts_nothing(new_folder: Path) -> None:
    async with asynccontextmanager(EmbeddedPlugin(new_folder).lifespan)(App()):
        assert not new_folder.exists()


@pytest.mark.filterwarnings("ignore::soniq.errors.SoniqWarning")
async def test_the_folder_is_the_argument_or_else_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONIQ_EMBEDDED_FOLDER", str(tmp_path / "environment"))
    for plugin, expected in (
        (EmbeddedPlugin(tmp_path / "argument"), "argument"),
        (EmbeddedPlugin(), "environment"),
    ):
        app = App()
        await plugin.database_url(app)
        async with asynccontextmanager(plugin.lifespan)(app):
            assert postmaster_pid(tmp_path / expected)
        assert postmaster_pid(tmp_path / expected) is None


def test_a_script_that_enqueues_last_of_all_closes_its_app_before_the_server_ends(
    tmp_path: Path,
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {name: value for name, value in os.environ.items() if name[:6] != "SONIQ_"}
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=environment
        | {"SONIQ_PLUGINS": "embedded", "SONIQ_EMBEDDED_FOLDER": str(tmp_path / "db")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "enqueued\n")
    assert "unavailable" not in done.stderr
    assert "Traceback" not in done.stderr
