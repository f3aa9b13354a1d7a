"""The Flask application: behind gunicorn, with processes that are forked from one that loaded it,
and a worker.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.flask_app import app as flask_app
from examples.flask_app import count_words, eq

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
Launch = Callable[..., "subprocess.Popen[str]"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gunicorn forks")


@pytest.fixture
def _environment(database_url: str, schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONIQ_DATABASE_URL", database_url)
    monkeypatch.setenv("SONIQ_SCHEMA", schema)


@pytest.fixture
def launch(_environment: None) -> Iterator[Launch]:
    """Launches a program of the environment; at the end it is told to stop, and must do so well and
    soon.
    """
    running: list[subprocess.Popen[str]] = []

    def launch(*command: str) -> "subprocess.Popen[str]":
        whole = [str(BIN / command[0]), *command[1:]]
        running.append(
            subprocess.Popen(whole, cwd=ROOT, env=os.environ, stderr=subprocess.PIPE, text=True)
        )
        return running[-1]

    yield launch
    for process in running:
        process.terminate()
    try:
        for process in running:
            _, said = process.communicate(timeout=60)
            assert (process.returncode, "Traceback" in said) == (0, False), said
    finally:
        for process in running:
            process.kill()


@pytest.fixture
def client(launch: Launch) -> Iterator[httpx.Client]:
    """A client of the application, which gunicorn loaded before it forked two processes with four
    threads each.
    """
    options = ("--preload", "--workers=2", "--threads=4", "--bind=127.0.0.1:0")
    server = launch("gunicorn", *options, "examples.flask_app:app")
    assert server.stderr is not None
    for line in server.stderr:
        if found := re.search(r"Listening at: (http://\S+)", line):
            break
    else:
        pytest.fail("gunicorn did not start")
    with httpx.Client(base_url=found[1], timeout=30) as client:
        yield client


def finished(client: httpx.Client, place: str) -> dict[str, Any]:
    """What the application says of a report once it is finished."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        answer: dict[str, Any] = client.get(place).raise_for_status().json()
        if answer["status"] not in ("queued", "running"):
            return answer
        time.sleep(0.05)
    raise TimeoutError(place)


def test_reports_are_ordered_from_many_threads_made_by_a_worker_and_shown(
    client: httpx.Client, launch: Launch
) -> None:
    def order(number: int) -> str:
        answer = client.post("/reports", json={"words": ["a"] * number + ["b"]})
        assert answer.status_code == 202
        return str(answer.json()["at"])

    with ThreadPoolExecutor(8) as threads:
        places = list(threads.map(order, range(1, 17)))
    assert client.get(places[0]).json() == {"status": "queued", "result": None, "error": None}
    launch("soniq", "worker", "examples.flask_app:eq")
    for number, place in enumerate(places, 1):
        assert finished(client, place) == {
            "status": "done",
            "result": {"a": number, "b": 1},
            "error": None,
        }


@pytest.mark.usefixtures("_environment")
def test_what_cannot_be_a_report_is_refused() -> None:
    client = flask_app.test_client()
    try:
        assert client.post("/reports", json={"words": "no list"}).status_code == 422
        assert client.get("/reports/no-id").status_code == 404
        assert client.get("/reports/019a0000-0000-7000-8000-000000000000").status_code == 404
        assert eq.sync.jobs() == []
    finally:
        eq.sync.close()


def test_the_job_is_a_plain_function_in_a_unit_test() -> None:
    assert count_words(["a", "b", "a"]) == {"a": 2, "b": 1}
