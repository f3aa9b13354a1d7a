"""Plugins made of functions, plugins that are installed, and jobs that run to their end."""

import asyncio
import importlib
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import asyncpg
import pytest

from soniq import Job, JobStatus, Soniq, hookimpl
from tests.core.hooks.support import Install, MakePlugin, Run, Work


@pytest.fixture(autouse=True)
def _only_embedded_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this repository's plugins only the embedded one is found, whichever are installed."""
    root = Path(__file__).parents[3]
    hidden = {folder.name for folder in (*root.glob("plugins/*"), *root.glob("examples/plugins/*"))} - {"embedded"}

    def visible(group: str) -> list[EntryPoint]:
        return [point for point in entry_points(group=group) if point.name not in hidden]

    monkeypatch.setattr("soniq.hooks.manager.entry_points", visible)


@pytest.fixture(scope="session")
def shared_schema(database_url: str) -> Iterator[str]:
    """The name of one schema for all tests here; it is dropped when they have run."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield name

    async def drop() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute(f"drop schema if exists {name} cascade")
        await connection.close()

    asyncio.run(drop())


@pytest.fixture
async def schema(database_url: str, shared_schema: str) -> AsyncIterator[str]:
    """A schema that is empty, and is emptied afterwards: that is quicker than making the tables for each test."""
    yield shared_schema
    connection = await asyncpg.connect(database_url)
    tables = await connection.fetch(
        "select relname from pg_class where relnamespace = to_regnamespace($1) and relkind in ('r', 'p') "
        "and not relispartition and relname not in ('migration', 'retention')",
        shared_schema,
    )
    if tables:
        await connection.execute(
            f"delete from {shared_schema}.migration where namespace <> 'soniq';"
            + "".join(f"delete from {shared_schema}.{table['relname']};" for table in tables)
        )
    for row in await connection.fetch(
        "select nspname from pg_namespace where starts_with(nspname, $1)", f"{shared_schema}_"
    ):
        await connection.execute(f'drop schema "{row["nspname"]}" cascade')
    await connection.close()


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

    async def run(app: Soniq, job: Job[..., Any], **arguments: Any) -> JobStatus:
        job_id = await app.enqueue(job, **arguments)
        await app.run_worker(run_once=True)
        status = await app.get_job_status(job_id)
        assert status is not None
        return status

    return run


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

    def install(plugin: str, source: str, *, distribution: str | None = None, attribute: str = "Plugin") -> str:
        distribution = distribution or f"soniq-{plugin}"
        module = f"installed_{distribution.replace('-', '_')}_{plugin}"
        (folder / f"{module}.py").write_text(f"from soniq import hookimpl\nfrom recorded import calls\n\n{source}")
        information = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        information.mkdir()
        target = f"{module}:{attribute}" if attribute else module
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(f"[soniq]\n{plugin} = {target}\n")
        importlib.invalidate_caches()
        modules.append(module)
        return module

    yield install
    for module in modules:
        sys.modules.pop(module, None)
