"""How the plugin is configured, and what it refuses."""

import subprocess
import sys
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from soniq import ConfigurationError, Soniq
from soniq.errors import PluginError
from soniq_sqlalchemy import SQLAlchemyPlugin
from tests.conftest import MakeApp
from tests.plugins.sqlalchemy.support import url_for
from tests.support.urls import as_hosters_write


@pytest.fixture
def urls(database_url: str) -> dict[str, str]:
    """The tests' database by driver; each has a name for its sessions."""
    separator = {
        "asyncpg": "prepared_statement_cache_size=7",
        "psycopg": "application_name=of-the-url",
    }
    return {
        driver: (
            url_for(database_url, driver)
            .update_query_string(separator[driver])
            .render_as_string(False)
        )
        for driver in separator
    }


def looking(app: Soniq) -> Any:
    """A job that says on which driver its session is."""

    @app.job()
    async def look(session: AsyncSession) -> str:
        await session.scalar(text("select 1"))
        return session.get_bind().dialect.driver

    return look


async def test_the_apps_own_url_may_be_as_hosters_write_it(
    make_app: MakeApp, database_url: str
) -> None:
    app = make_app(database_url=as_hosters_write(database_url), plugins=[SQLAlchemyPlugin()])
    job_id = await app.enqueue(looking(app))
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == "asyncpg"


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_url_makes_an_engine(make_app: MakeApp, urls: dict[str, str], driver: str) -> None:
    app = make_app(plugins=[SQLAlchemyPlugin(url=urls[driver])])
    job_id = await app.enqueue(looking(app))
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == driver


async def test_so_does_the_environment_unless_an_argument_says_otherwise(
    make_app: MakeApp, urls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONIQ_SQLALCHEMY_URL", urls["psycopg"])
    engine = create_async_engine(urls["asyncpg"])
    for plugin, driver in (
        (SQLAlchemyPlugin(), "psycopg"),
        (SQLAlchemyPlugin(url=urls["asyncpg"]), "asyncpg"),
        (SQLAlchemyPlugin(engine), "asyncpg"),
    ):
        app = make_app(plugins=[plugin])
        job_id = await app.enqueue(looking(app))
        await app.run_worker(run_once=True)
        assert await app.get_result(job_id) == driver
        await app.close()
    await engine.dispose()


@pytest.mark.parametrize(
    "url",
    ["nonsense:secret", "postgresql+asyncpg://me:secret@host:port/db", "sqlite+aiosqlite:///secret",
     "postgresql+psycopg2://me:secret@host/db", "mysql+nothing://me:secret@host/db"],
)  # fmt: skip
@pytest.mark.parametrize("source", ["url=", "SONIQ_SQLALCHEMY_URL"])
def test_a_url_that_cannot_be_used_is_refused_and_not_shown(
    url: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source != "url=":
        monkeypatch.setenv(source, url)
    with pytest.raises(ConfigurationError) as caught:
        SQLAlchemyPlugin(url=url if source == "url=" else None)
    assert source in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("engines", "told"),
    [
        (
            [create_engine("sqlite://")],
            r"the Engine is on sqlite\+pysqlite; it must be on postgresql\+psycopg",
        ),
        (
            [create_async_engine("postgresql+psycopg://")] * 2,
            "two engines of one kind, AsyncEngine",
        ),
        (["postgresql+psycopg://me:secret@host"], "takes an AsyncEngine or Engine; got str"),
    ],
)
def test_engines_that_cannot_be_used_are_refused(engines: list[Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        SQLAlchemyPlugin(*engines)


def test_engine_and_url_together_are_refused(urls: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="give one"):
        SQLAlchemyPlugin(create_async_engine(urls["asyncpg"]), url=urls["asyncpg"])


async def test_one_plugin_serves_one_app(make_app: MakeApp) -> None:
    plugin = SQLAlchemyPlugin()
    app = make_app(plugins=[plugin])
    await app.start()
    await app.close()
    await app.start()
    with pytest.raises(PluginError, match="passed to two apps"):
        await make_app(plugins=[plugin]).start()


async def test_behind_pgbouncer_an_engine_is_asked_for(make_app: MakeApp) -> None:
    app = make_app(plugins=[SQLAlchemyPlugin()], pgbouncer=True)
    looking(app)
    with pytest.raises(ConfigurationError, match=r"PgBouncer.*engine"):
        await app.start()


def test_its_repr_shows_no_url(urls: dict[str, str]) -> None:
    plugin = SQLAlchemyPlugin(url="postgresql+asyncpg://me:secret@host/db")
    assert repr(plugin) == "<SQLAlchemyPlugin asyncpg>"


def test_psycopg_is_needed_only_for_its_own_connections() -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None; import soniq_sqlalchemy;"
        " print(soniq_sqlalchemy.SQLAlchemyPlugin())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "<SQLAlchemyPlugin of the app>\n"
