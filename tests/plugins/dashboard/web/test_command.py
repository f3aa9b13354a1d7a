"""`soniq dashboard`: it serves until a signal comes, and lets nobody in by mistake."""

import base64
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.core.cli.conftest import Project, Running
from tests.support.commands import Run, runner
from tests.support.forks import Forks

APP = """
from soniq import Soniq
from soniq_dashboard import Dashboard

eq = Soniq(plugins=[Dashboard], discover=False)

@eq.job(name="send", hide=["note"])
async def send(note: str) -> None: ...
"""

TELLING = """
import gc
from soniq import Soniq, hookimpl
from soniq_dashboard import Dashboard
from soniq_dashboard.extending import Alert

before = gc.get_freeze_count()

class Tells:
    name = "tells"

    @hookimpl
    def dashboard_alerts(self, app):
        return [Alert(f"frozen: {gc.get_freeze_count() - before}", "/system")]

eq = Soniq(plugins=[Dashboard, Tells], discover=False)
"""
"""An app that says how many more objects no full collection looks through."""

PASSWORD = "correct horse battery"


@pytest.fixture
def project(tmp_path: Path, database_url: str, schema: str, forks: Forks) -> Iterator[Project]:
    environment = {
        "SONIQ_DATABASE_URL": database_url,
        "SONIQ_SCHEMA": schema,
        "SONIQ_APP": "shop:eq",
        "SONIQ_PLUGINS": "dashboard",
    }
    project = Project(tmp_path, environment, forks)
    project.write("shop.py", APP)
    assert project.soniq("setup").returncode == 0
    yield project
    project.close()


@pytest.fixture
def run(tmp_path: Path, database_url: str, schema: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `soniq ...` in this process, with the app above."""
    return runner(APP, tmp_path, database_url, schema, monkeypatch)


def address(serving: Running) -> str:
    """Where it says that it serves."""
    line = serving._read(serving.process.stdout, "the dashboard is at")
    (url,) = re.findall(r"is at (http://\S+/);", line)
    return str(url)


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_comes(project: Project, by: signal.Signals) -> None:
    project.soniq("enqueue", "send", '{"note": "for her only"}')
    serving = project.start("dashboard", "--port", "0", "--allow", "see_arguments")
    url = address(serving)
    page = httpx.get(url + "jobs")
    (job,) = re.findall(r'href="(/jobs/[0-9a-f-]{36})"', page.text)
    shown = httpx.get(url[:-1] + job).text
    assert "***" in shown
    assert "for her only" not in shown
    assert httpx.get(url, headers={"Host": "elsewhere.test"}).status_code == 403

    serving.process.send_signal(by)
    assert serving.end() == 0
    assert serving.errors == ""


def test_a_full_collection_leaves_out_what_was_loaded_before_it_served(project: Project) -> None:
    project.write("shop.py", TELLING)
    serving = project.start("dashboard", "--port", "0")
    (frozen,) = re.findall(r"frozen: (\d+)", httpx.get(address(serving)).text)
    assert int(frozen) > 10_000


def test_with_a_password_it_is_asked_for(project: Project) -> None:
    serving = project.start(
        "dashboard", "--port", "0", "--host", "0.0.0.0", SONIQ_DASHBOARD_PASSWORD=PASSWORD
    )
    url = address(serving).replace("0.0.0.0", "127.0.0.1")
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, auth=("eva", "wrong")).status_code == 401
    assert ">eva" in httpx.get(url, auth=("eva", PASSWORD)).text

    encoded = base64.b64encode(f"eva:{PASSWORD}".encode()).decode()
    assert httpx.get(f"{url}?authorization={encoded}").status_code == 401  # never in an address
    serving.process.send_signal(signal.SIGTERM)
    assert serving.end() == 0
    assert PASSWORD not in serving.errors


def test_behind_a_proxy_it_trusts_what_that_says_and_nobody_else(project: Project) -> None:
    serving = project.start(
        "dashboard", "--port", "0", "--behind-proxy-auth", "X-User", "--proxy", "127.0.0.1",
        "--prefix", "/ops",
    )  # fmt: skip
    url = address(serving)
    assert httpx.get(url).status_code == 403
    page = httpx.get(url, headers={"X-User": "eva"})
    assert ">eva" in page.text
    assert 'href="/ops/queues"' in page.text
    forwarded = {"X-User": "eva", "X-Forwarded-For": "10.0.0.1"}
    assert httpx.get(url, headers=forwarded).status_code == 200
    serving.process.send_signal(signal.SIGTERM)
    assert serving.end() == 0

    serving = project.start(
        "dashboard", "--port", "0", "--behind-proxy-auth", "X-User", "--proxy", "10.0.0.1"
    )
    forwarded = {"X-User": "eva", "X-Forwarded-For": "10.0.0.1"}
    assert httpx.get(address(serving), headers=forwarded).status_code == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "jobs.example.com"])
def test_nobody_from_elsewhere_is_let_in_by_mistake(run: Run, host: str) -> None:
    output = run("dashboard", "--host", host, code=2).output
    assert "set SONIQ_DASHBOARD_PASSWORD, or put a proxy in front" in " ".join(output.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--allow", "everything"], "'everything' is none of bulk, cancel, delete, pause, retry"),
        (["--proxy", "10.0.0.1"], "--proxy goes with --behind-proxy-auth"),
        (["--behind-proxy-auth", "bad header"], "'bad header' is no name of a header"),
        (["--behind-proxy-auth", ""], "'' is no name of a header"),
        (["--prefix", "jobs"], "it begins with a /"),
        (["--port", "70000"], "70000 is not in the range"),
    ],
)
def test_what_cannot_be_is_said(run: Run, words: list[str], says: str) -> None:
    assert says in " ".join(run("dashboard", *words, code=2).output.split())


def test_a_short_password_is_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONIQ_DASHBOARD_PASSWORD", "short")
    output = run("dashboard", code=2).output
    assert "shorter than 12 characters" in output
    assert "'short'" not in output


def test_a_port_that_somebody_has_is_said(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        output = run("dashboard", "--port", str(port), code=1).output
    assert f"cannot listen at 127.0.0.1 port {port}" in output


def test_the_collector_needs_none_of_the_packages_of_the_pages(project: Project) -> None:
    project.write(
        "look.py",
        """
        import sys, shop
        from soniq_dashboard import Dashboard
        shop.eq.plugin(Dashboard)
        print([each for each in ("starlette", "jinja2", "uvicorn") if each in sys.modules])
        """,
    )
    done = subprocess.run(
        [sys.executable, "look.py"], cwd=project.folder, env=project.environment,
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "[]\n"


def test_without_these_packages_it_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in sys.modules if each.startswith("soniq_dashboard.web")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [each for each in sys.modules if each.partition(".")[0] == "starlette"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert "pip install 'soniq-dashboard[web]'" in run("dashboard", code=1).output
