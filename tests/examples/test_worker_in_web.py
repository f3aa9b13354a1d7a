"""A worker inside the process of a web server: real servers, real signals, and one signal ends
both.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from soniq import Soniq
from tests.conftest import MakeApp
from tests.support.forks import Fork, Forks
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import eventually

ROOT = Path(__file__).parent.parent.parent
LIMIT = 40

APP = "examples.worker_in_web:api"
SERVERS: dict[str, Sequence[str]] = {
    "uvicorn": ["uvicorn", "--port", "{port}", APP],
    "two uvicorns": ["uvicorn", "--port", "{port}", "--workers", "2", APP],
    "gunicorn with uvicorn": [
        "gunicorn",
        "--bind",
        "127.0.0.1:{port}",
        "--worker-class",
        "uvicorn.workers.UvicornWorker",
        APP,
    ],
    "gunicorn": ["gunicorn", "--bind", "127.0.0.1:{port}", "--worker-class", "asgi", APP],
    "hypercorn": ["hypercorn", "--bind", "127.0.0.1:{port}", APP],
    "hypercorn in one process": ["hypercorn", "--workers", "0", "--bind", "127.0.0.1:{port}", APP],
}

Start = Callable[[str], tuple[Fork, str]]


@pytest.fixture
async def jobs(make_app: MakeApp) -> Soniq:
    """The jobs of the example, seen from outside, where lost ones are soon found; the tables are
    there.
    """
    app = make_app(lease=2)

    @app.job(name="examples.worker_in_web.greet")
    async def greet(name: str, seconds: float = 0.0) -> str:
        return f"hello {name}"

    await app.start()
    return app


@pytest.fixture
def start(database_url: str, schema: str, forks_with_plugins: Forks) -> Iterator[Start]:
    """Starts a server on a free port; it and what it started are killed if they have not ended."""
    started: list[Fork] = []

    def start(server: str) -> tuple[Fork, str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        settings = {
            "DATABASE_URL": database_url,
            "SCHEMA": schema,
            "PLUGINS": "",
            "GRACE": "1",
            "LEASE": "5",
            "POLL_INTERVAL": "0.1",
        }
        started.append(
            forks_with_plugins.start(
                ["-m", *(word.format(port=port) for word in SERVERS[server])],
                cwd=ROOT,
                env={**os.environ, **{f"SONIQ_{name}": value for name, value in settings.items()}},
                new_session=True,
            )
        )
        return started[-1], f"http://127.0.0.1:{port}"

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(LIMIT)


async def serves(client: httpx.AsyncClient, name: str, seconds: float) -> str:
    """The id of a job that the server enqueued, once it serves."""

    async def ask() -> str | None:
        try:
            answer = await client.post("/greetings", params={"name": name, "seconds": seconds})
        except httpx.TransportError:
            return None
        return str(answer.raise_for_status().json()["job"])

    return await eventually(ask, LIMIT) or ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("server", SERVERS)
async def test_one_signal_ends_the_server_and_its_worker(
    start: Start, jobs: Soniq, server: str, number: signal.Signals
) -> None:
    process, url = start(server)
    async with httpx.AsyncClient(base_url=url) as client:
        short = await serves(client, "Ada", 0.0)
        assert await jobs.wait_for(short, LIMIT) == "hello Ada"
        long = await serves(client, "Eva", 600.0)

        async def runs() -> bool:
            return (await status_of(jobs, long))["status"] == "running"

        await eventually(runs)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as Ctrl-C in a terminal does
    else:
        process.send_signal(number)
    await asyncio.to_thread(process.wait, LIMIT)
    status = await status_of(jobs, long)
    if (server, number, status["status"]) == ("gunicorn", signal.SIGINT, "running"):
        # The process was ended before it could requeue the job: that is left to the rescue.
        async with working(jobs):
            status = await finished(jobs, long, LIMIT)
        assert (status["status"], status["attempt"]) == ("done", 1)
        return

    assert (status["status"], status["attempt"], status["worker_id"]) == ("queued", 0, None)
    assert (await jobs.overview())["workers"] == []


async def test_the_worker_lets_what_runs_end_in_time_with_the_server(
    start: Start, jobs: Soniq
) -> None:
    process, url = start("uvicorn")
    async with httpx.AsyncClient(base_url=url) as client:
        job_id = await serves(client, "Ada", 0.6)

        async def runs() -> bool:
            return (await status_of(jobs, job_id))["status"] == "running"

        await eventually(runs)
        await asyncio.sleep(0.2)  # what is claimed and has not begun is given back
    process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(process.wait, LIMIT)
    status = await status_of(jobs, job_id)
    assert (status["status"], status["result"]) == ("done", "hello Ada")


async def test_a_server_whose_worker_fails_ends_as_well(
    start: Start, jobs: Soniq, schema: str
) -> None:
    process, url = start("uvicorn")
    async with httpx.AsyncClient(base_url=url) as client:
        await jobs.wait_for(await serves(client, "Ada", 0.0), LIMIT)
        async with jobs.connection() as connection:
            claims = await connection.fetch(
                "select oid::regprocedure as it from pg_proc where proname ~ '^settle_and_claim' "
                "and pronamespace = $1::regnamespace",
                schema,
            )
            for each in claims:
                await connection.execute(f"drop function {each['it']}")
        await asyncio.to_thread(process.wait, LIMIT)
