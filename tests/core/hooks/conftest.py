"""Plugins made of functions, plugins that are installed, and jobs that run to their end."""

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from soniq import Soniq, hookimpl
from tests.core.hooks.support import Install, MakePlugin, Run, Work
from tests.support.installed import forget, installed
from tests.support.jobs import run_job


@pytest.fixture(autouse=True)
def _only_embedded_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this repository's plugins only the embedded one is found, whichever are installed."""
    root = Path(__file__).parents[3]
    hidden = {
        folder.name for folder in (*root.glob("plugins/*"), *root.glob("examples/plugins/*"))
    } - {"embedded"}

    def visible(group: str) -> list[EntryPoint]:
        return [point for point in installed(group=group) if point.name not in hidden]

    monkeypatch.setattr("soniq.hooks.discovery.entry_points", visible)


@pytest.fixture
def make_plugin() -> MakePlugin:
    """Makes a plugin of a name whose hooks are the functions given."""

    def make(name: str, **hooks: Callable[..., Any]) -> ModuleType:
        plugin = ModuleType(name)
        vars(plugin)["name"] = name
        for hook, function in hooks.items():
            setattr(plugin, hook, hookimpl(function))
        return plugin

    return make


@pytest.fixture
def run() -> Run:
    """Enqueues a job, works off all that is due, and says how the job stands then."""
    return run_job


@pytest.fixture
def work() -> Work:
    """A worker of an app that runs meanwhile: `async with work(app):`."""

    @asynccontextmanager
    async def work(app: Soniq) -> AsyncIterator[None]:
        worker = asyncio.create_task(app.run_worker())
        try:
            yield
        finally:
            while not worker.done():  # also where it has only begun to start
                app.stop_workers()
                await asyncio.wait([worker], timeout=0.05)
            await worker

    return work


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was called; an installed plugin finds the list with `from recorded import calls`."""
    module = ModuleType("recorded")
    calls: list[str] = []
    vars(module)["calls"] = calls
    monkeypatch.setitem(sys.modules, "recorded", module)
    return calls


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> Iterator[Install]:
    """Installs plugins in a folder of their own, for this test."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    modules: list[str] = []

    def install(
        plugin: str, source: str, *, distribution: str | None = None, attribute: str = "Plugin"
    ) -> str:
        distribution = distribution or f"soniq-{plugin}"
        module = f"installed_{distribution.replace('-', '_')}_{plugin}"
        (folder / f"{module}.py").write_text(
            f"from soniq import hookimpl\nfrom recorded import calls\n\n{source}"
        )
        information = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        information.mkdir()
        target = f"{module}:{attribute}" if attribute else module
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
        (information / "entry_points.txt").write_text(f"[soniq]\n{plugin} = {target}\n")
        importlib.invalidate_caches()
        forget()
        modules.append(module)
        return module

    yield install
    for module in modules:
        sys.modules.pop(module, None)
