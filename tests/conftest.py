"""A real PostgreSQL for every test: the one in SONIQ_TEST_DATABASE_URL, or an embedded one in a
temporary folder.

Each test that asks for `app` or `schema` has a schema of its own, which is emptied or dropped
afterwards.
"""

import gc
import logging
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import asyncpg
import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
from psycopg import sql

from soniq import Soniq
from soniq.cli.commands import soniq
from soniq.worker import interrupts
from soniq_embedded import EmbeddedServer
from tests.support.forks import Forks
from tests.support.installed import installed
from tests.support.proxy import Proxy
from tests.support.schemas import Plugins, Schemas, new_name
from tests.support.urls import of_database

MakeApp = Callable[..., Soniq]

# No test takes away the machine's power
OPTIONS = {
    "max_connections": "200",
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "128MB",
}

TESTPATHS = pytest.Config.ArgsSource.TESTPATHS

MEMORY = Path("/dev/shm")
ENOUGH = 6 * 1024**3
"""Bytes of it, so that the servers of several processes find room there."""


def pytest_configure() -> None:
    """Signals do what they do in a terminal, also where the tests run in the background, under
    nohup or in a job of a shell, whose children would ignore them.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """What is collected stays to the end: the garbage collector need not walk through it, again
    and again.
    """
    gc.disable()
    _import_share(session.config)
    collected = yield
    gc.freeze()
    gc.enable()
    return collected


def _import_share(config: pytest.Config) -> None:
    """Where several processes collect the whole suite, each begins with other modules: in a new
    checkout none of the others need compile these and rewrite their asserts then.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ or config.args_source is not TESTPATHS:
        return
    number = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    files = [file for path in config.args for file in sorted(Path(path).rglob("test_*.py"))]
    for file in files[number::count]:
        # What does not import is reported when it is collected
        with suppress(Exception, pytest.skip.Exception):
            import_module(".".join(file.with_suffix("").parts))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test printed may hold half a character, which a report on its way between processes
    may not.
    """
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """The URL of the database that the tests of this process run on, which nothing else uses."""
    given = os.environ.get("SONIQ_TEST_DATABASE_URL")
    if given:
        with _own_database(given) as url:
            yield url
        return
    with (
        tempfile.TemporaryDirectory(prefix="soniq-tests-", dir=_in_memory()) as folder,
        EmbeddedServer(Path(folder), options=OPTIONS) as server,
    ):
        yield server.start()


def _in_memory() -> Path | None:
    """A folder in memory, where there is much: making and dropping tables is making files."""
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < ENOUGH:
        return None
    return MEMORY if psutil.virtual_memory().available > ENOUGH else None


@contextmanager
def _own_database(url: str) -> Iterator[str]:
    """A database on the server of a URL: tests end sessions, and several processes run them."""
    name = f"soniq_tests_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    try:
        yield of_database(url, name)
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            drop = sql.SQL("drop database {} with (force)")
            connection.execute(drop.format(sql.Identifier(name)))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of whoever runs the tests does not configure the apps in them."""
    for name in list(os.environ):
        if name.startswith("SONIQ_") and name != "SONIQ_TEST_DATABASE_URL":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _nobody_listens_for_signals() -> None:
    """Begin as a process does in which no worker ever ran, whatever ran in this one before."""
    interrupts._forget_the_parents_workers()


@pytest.fixture(scope="session", autouse=True)
def _installed_is_read_once() -> Iterator[None]:
    """What is installed is read where a test looks at it in a folder of its own, else once: apps
    with plugins look at 150 files when they start.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("soniq.hooks.discovery.entry_points", installed)
        yield


@pytest.fixture(autouse=True)
def _commands_of_plugins_go_with_their_test() -> Iterator[None]:
    """What a test's plugins add to `soniq` is not there for the next test."""
    commands, looked = dict(soniq.commands), soniq._looked
    yield
    soniq.commands, soniq._looked = commands, looked


class Lines(logging.Handler):
    """Collects what Soniq or a plugin logs in more than one line."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if not message.isprintable() and not record.name.startswith("soniq.job"):
            self.broken.append(f"{record.name}: {message!r}")


@pytest.fixture(autouse=True)
def _each_record_is_one_line() -> Iterator[None]:
    """Whatever a test lets users write, no record of Soniq's or a plugin's has a line break."""
    lines = Lines()
    logging.getLogger("soniq").addHandler(lines)
    yield
    logging.getLogger("soniq").removeHandler(lines)
    assert lines.broken == []


@pytest.fixture
async def connection(database_url: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A plain connection, for looking at what is in the tables and for business writes of the
    test's own.
    """
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
def schemas(database_url: str) -> Iterator[Schemas]:
    """The schemas on this server."""
    schemas = Schemas(database_url)
    yield schemas
    schemas.close()


@pytest.fixture
def tables_of() -> Plugins:
    """What makes the plugins whose tables are there when a test begins."""
    return ()


@pytest.fixture
def schema(schemas: Schemas, tables_of: Plugins, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a schema for this test alone, in which Soniq's tables are, and empty; of one that
    is not there yet for a test with the marker `new_schema`.
    """
    new = request.node.get_closest_marker("new_schema") is not None
    name = new_name() if new else schemas.take(tables_of)
    yield name
    left = schemas.end_statements()
    if new:
        schemas.drop(name)
    else:
        schemas.give_back(name)
    assert left == [], "left running on the server"


@asynccontextmanager
async def apps(database_url: str, schema: str) -> AsyncIterator[MakeApp]:
    """Makes apps on a schema: no discovered plugins, quick polls; any keyword overrides. All are
    closed.
    """
    made: list[Soniq] = []

    def make(**arguments: Any) -> Soniq:
        defaults = {
            "database_url": database_url,
            "schema": schema,
            "discover": False,
            "poll_interval": 0.1,
            "grace": 5,
        }
        made.append(Soniq(**{**defaults, **arguments}))
        return made[-1]

    yield make
    for app in made:
        await app.close()


@pytest.fixture
async def make_app(database_url: str, schema: str) -> AsyncIterator[MakeApp]:
    """Makes apps on this test's schema, as `apps` does."""
    async with apps(database_url, schema) as make:
        yield make


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    """One app on this test's schema."""
    return make_app()


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    """A network to the test server that can be made to fail; `proxy.url(database_url)` leads
    through it.
    """
    with Proxy.to(database_url) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """The process that others are forked from."""
    with Forks() as forks:
        yield forks


@pytest.fixture(scope="session")
def forks_with_plugins() -> Iterator[Forks]:
    """The process that those are forked from that load all plugins."""
    with Forks(plugins=True) as forks:
        yield forks
