"""Settings: arguments, then the environment, then defaults; and an app that reads them at its first
use, not before.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec
import pytest

from soniq import ConfigurationError, Settings, Soniq, SoniqError, hookimpl
from soniq.settings import check_url, describe_url, load, server_address
from tests.conftest import MakeApp

EXAMPLES: dict[str, tuple[object, str, object]] = {
    "database_url": ("postgresql://a/b", "postgresql://c/d", None),
    "schema": ("mine", "theirs", "soniq"),
    "setup": (False, "true", True),
    "pgbouncer": (True, "0", False),
    "pool_size": (3, "4", 10),
    "connect_timeout": (1.5, "2", 10.0),
    "command_timeout": (1.5, "2", 60.0),
    "unknown_jobs": ("allow", "error", "error"),
    "max_payload": (5, "6", 1_048_576),
    "max_attempts": (2, "3", 5),
    "keep": (5, "6", 604_800.0),
    "keep_dead": (5.0, "6", None),
    "concurrency": (2, "3", 20),
    "prefetch": (0, "7", 500),
    "lease": (5, "6.5", 30.0),
    "poll_interval": (0.5, "0.25", 1.0),
    "grace": (0, "1", 30.0),
    "log_jobs": ("debug", "info", "info"),
    "hook_timeout": (1, "2.5", 5.0),
}
"""For each setting: as an argument, as text in the environment, and its default."""


def test_every_setting_has_an_example_here() -> None:
    assert list(EXAMPLES) == list(Settings.__struct_fields__)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_argument_comes_before_the_environment_and_that_before_the_default(name: str) -> None:
    argument, text, default = EXAMPLES[name]
    environment = {f"SONIQ_{name.upper()}": text}
    kind: type = type(argument if default is None else default)
    assert getattr(load({}, {}), name) == default
    of_environment = getattr(load({}, environment), name)
    assert of_environment == (text == "true" if kind is bool else kind(text))
    assert isinstance(of_environment, kind)
    assert getattr(load({name: argument}, environment), name) == argument
    assert getattr(load({name: None}, environment), name) == of_environment, "None is not given"
    assert getattr(load({}, {f"SONIQ_{name.upper()}": ""}), name) == default, "empty is not set"


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("end", ["\r", " ", "\r\n"])
def test_white_space_around_a_value_of_the_environment_is_no_part_of_it(
    name: str, end: str
) -> None:
    variable, text = f"SONIQ_{name.upper()}", EXAMPLES[name][1]
    assert load({}, {variable: f" {text}{end}"}) == load({}, {variable: text})
    assert load({}, {variable: end}) == load({}, {}), "empty is not set"


def test_settings_are_one_frozen_value() -> None:
    settings = load({}, {})
    with pytest.raises(AttributeError):
        settings.lease = 5  # type: ignore[misc] # the attempt itself
    assert settings == msgspec.structs.replace(settings)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("setup", "yes", "maybe"),
        ("pgbouncer", 1, "2"),
        ("pool_size", 0, "0"),
        ("pool_size", 1.5, "many"),
        ("pool_size", True, "-1"),
        ("connect_timeout", 0, "0"),
        ("connect_timeout", float("nan"), "nan"),
        ("command_timeout", -1, "-1"),
        ("command_timeout", float("inf"), "inf"),
        ("max_payload", 0, "1e9"),
        ("max_payload", 10**9, "1000000000"),
        ("max_attempts", 0, "40000"),
        ("keep", -1, "-1"),
        ("keep", float("inf"), "1e12"),
        ("concurrency", 0, "0"),
        ("prefetch", -1, "-1"),
        ("lease", 0.5, "0.5"),
        ("lease", "30", "30s"),
        ("poll_interval", 0, "0"),
        ("grace", -1, "-1"),
        ("hook_timeout", 0, "0"),
    ],
)
def test_a_value_that_cannot_be_is_refused_naming_its_source(
    name: str, value: object, text: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}= .* cannot be used: ") as caught:
        load({name: value}, {})
    assert repr(value) in str(caught.value)
    with pytest.raises(
        ConfigurationError, match=f"^SONIQ_{name.upper()} '{text}' cannot be used: "
    ):
        load({}, {f"SONIQ_{name.upper()}": text})


@pytest.mark.parametrize(
    "schema", ["", "1st", "Mine", "a-b", "a.b", 'a"b', "a\0", "x" * 41, "schöma"]
)
def test_a_schema_that_needs_quotes_is_refused(schema: str) -> None:
    with pytest.raises(ConfigurationError, match=r"schema .* lower-case letters"):
        load({"schema": schema}, {})


def test_other_choices_than_those_there_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown_jobs= 'maybe' .* 'error' or 'allow'"):
        load({"unknown_jobs": "maybe"}, {})
    with pytest.raises(
        ConfigurationError, match=r"no setting is named 'poolsize'; there are database_url, schema"
    ):
        load({"poolsize": 5}, {})


# --- the URL -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://localhost/myapp", "localhost:5432/myapp"),
        ("postgres://me:secret@db.example:6543/myapp", "db.example:6543/myapp"),
        ("postgresql://me:s%40cr%2Fet@db.example/myapp?sslmode=require", "db.example:5432/myapp"),
        ("postgresql://me:secret@a:1,b:2/myapp", "a:1,b:2/myapp"),
        ("postgresql://me:secret@[::1]:5433/myapp", "[::1]:5433/myapp"),
        ("postgresql://me:secret@[::1]/myapp", "[::1]:5432/myapp"),
        ("postgresql://me:secret@/myapp?host=/run/postgresql&port=5433", "/run/postgresql/myapp"),
        ("postgresql://%2Frun%2Fpostgresql/myapp", "/run/postgresql:5432/myapp"),
        ("postgresql:///myapp?user=me&password=secret", "localhost:5432/myapp"),
        ("postgresql:///myapp?user=me@here&password=s@cret", "localhost:5432/myapp"),
        ("postgresql://", "localhost:5432/"),
    ],
)
def test_where_a_url_leads_is_shown_without_who_and_how(url: str, shown: str) -> None:
    check_url(url)
    assert describe_url(url) == shown


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgresql://me:secret@db.example:6543/myapp", ("db.example", 6543)),
        ("postgresql://db.example/myapp", ("db.example", 5432)),
        ("postgresql:///myapp?host=db.example&port=6543", ("db.example", 6543)),
        ("postgresql://a:1,b:2/myapp", ("a", 1)),
        ("postgresql://[::1]:5433/myapp", ("::1", 5433)),
        ("postgresql://[::1]/myapp", ("::1", 5432)),
        ("postgresql:///myapp?host=/run/postgresql", ("/run/postgresql", None)),
        ("postgresql://%2Frun%2Fpostgresql/myapp", ("/run/postgresql", None)),
    ],
)
def test_the_server_of_a_url_is_its_first_host_with_its_port(
    url: str, address: tuple[str, int | None]
) -> None:
    assert server_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:sec/ret@db.example/myapp",
        "postgresql://me:sec#ret@db.example/myapp",
        "postgresql://me:sec?ret@db.example/myapp",
        "postgresql://me:sec@ret@db.example/myapp",
        "postgresql://me:12/ret@db.example/myapp",
        "postgresql://me:12#ret@db.example/myapp",
        "postgresql://me:12?ret@db.example/myapp",
        "postgresql://me:12?ret@db.example/myapp?sslmode=require",
        "postgresql://me:secret@db.example:port/myapp",
        "postgresql://me:secret@[::1/myapp",
    ],
)
def test_a_url_whose_password_cannot_be_told_from_the_rest_is_refused_and_not_shown(
    url: str,
) -> None:
    for refuse in (lambda: check_url(url), lambda: load({"database_url": url}, {})):
        with pytest.raises(ConfigurationError, match="percent-encoded") as caught:
            refuse()
        assert "ret" not in str(caught.value)
        assert "sec" not in str(caught.value)
    assert describe_url(url) == "(a URL that cannot be read)"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://me:secret@h/d", r"must begin with postgresql://; this is mysql://\.\.\."),
        ("sqlite:///secret.db", r"this is sqlite://\.\.\."),
        ("secret", "this is no such URL"),
        ("", "this is no such URL"),
        ("host=h password=secret", "this is no such URL"),
        ("postgresql+asyncpg://me:secret@h/d", r"this is postgresql\+asyncpg://\.\.\."),
        (b"postgresql://me:secret@h/d", "database_url= its value cannot be used"),
        (5, "database_url= its value cannot be used"),
    ],
)
def test_a_url_that_is_not_postgresqls_is_refused_and_not_shown(url: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        load({"database_url": url}, {})
    assert "secret" not in str(caught.value)


def test_settings_show_no_password() -> None:
    settings = load({"database_url": "postgresql://me:secret@db.example/myapp?password=secret"}, {})
    for shown in (repr(settings), str(settings), f"{settings}"):
        assert "secret" not in shown
        assert "database_url='db.example:5432/myapp'" in shown
    assert "database_url=None" in repr(load({}, {}))


# --- an app and its first use --------------------------------------------------------------------


def test_the_constructor_needs_no_loop_and_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONIQ_POOL_SIZE", "many")
    monkeypatch.setenv("SONIQ_PLUGINS", "nonexistent")
    app = Soniq()
    Soniq(database_url="mysql://nowhere", pool_size="many", nonsense=5)

    @app.job()
    async def work() -> None: ...

    assert list(app.registry) == [work.name]


async def test_a_broken_environment_matters_at_first_use_and_can_be_mended(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONIQ_POOL_SIZE", "many")
    app = make_app()
    with pytest.raises(ConfigurationError, match="SONIQ_POOL_SIZE 'many' cannot be used"):
        await app.jobs()
    monkeypatch.setenv("SONIQ_POOL_SIZE", "3")
    assert await app.jobs() == []
    assert app.settings.pool_size == 3
    monkeypatch.setenv("SONIQ_POOL_SIZE", "4")
    assert app.settings.pool_size == 3, "the settings of an app in use are those of its first use"


async def test_the_environment_names_the_database(
    database_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONIQ_DATABASE_URL", database_url)
    monkeypatch.setenv("SONIQ_SCHEMA", schema)
    async with Soniq(discover=False) as app:
        assert await app.jobs() == []
        assert app.settings.schema == schema


async def test_without_a_url_and_a_plugin_the_error_names_both_ways_out() -> None:
    with pytest.raises(ConfigurationError, match=r"SONIQ_DATABASE_URL.*install soniq-embedded"):
        await Soniq(discover=False).start()


def test_the_app_does_not_show_the_password() -> None:
    app = Soniq("postgresql://me:secret@db.example/myapp")
    assert "secret" not in repr(app)
    assert "secret" not in str(app.settings)


class Counting:
    """Counts how often the app starts and ends."""

    name = "counting"

    def __init__(self) -> None:
        self.started = self.ended = 0

    @hookimpl
    async def lifespan(self) -> AsyncIterator[None]:
        self.started += 1
        await asyncio.sleep(0)
        yield
        self.ended += 1


async def test_a_concurrent_first_use_starts_the_app_once(make_app: MakeApp) -> None:
    counting = Counting()
    app = make_app(plugins=[counting])

    @app.job()
    async def work(n: int) -> None: ...

    await asyncio.gather(*(app.enqueue(work, n) for n in range(20)), app.start(), app.start())
    assert (counting.started, counting.ended) == (1, 0)
    assert len(await app.jobs()) == 20
    await asyncio.gather(app.close(), app.close())
    assert (counting.started, counting.ended) == (1, 1)


async def test_an_app_is_closed_twice_and_used_again(app: Soniq) -> None:
    @app.job()
    async def work(n: int) -> int:
        return n

    await app.close()
    first = await app.enqueue(work, 1)
    await app.close()
    await app.close()
    second = await app.enqueue(work, 2)
    await app.run_worker(run_once=True)
    assert [await app.get_result(each) for each in (first, second)] == [1, 2]


async def test_what_is_being_enqueued_is_written_before_the_close(
    app: Soniq, make_app: MakeApp
) -> None:
    @app.job()
    async def work(n: int) -> None: ...

    await app.start()
    enqueueing = [asyncio.create_task(app.enqueue(work, n)) for n in range(50)]
    await asyncio.sleep(0)
    await app.close()
    await asyncio.gather(*enqueueing)
    assert len(await make_app().jobs()) == 50


async def test_a_context_manager_sets_up_and_closes(make_app: MakeApp) -> None:
    async with make_app() as app:
        assert app._database.settings is app.settings
        assert await app.jobs() == []
    with pytest.raises(SoniqError, match="has not been started"):
        _ = app._database


# --- event loops ---------------------------------------------------------------------------------

Use = Callable[[], Coroutine[Any, Any, None]]


async def _in_a_thread(use: Use) -> None:
    """Use it in an event loop of its own, in another thread."""
    await asyncio.to_thread(asyncio.run, use())


async def test_an_app_is_used_in_one_event_loop_after_another(app: Soniq) -> None:
    @app.job()
    async def work(n: int) -> int:
        return n

    async def use() -> None:
        ids = await asyncio.gather(*(app.enqueue(work, n) for n in range(5)))
        await app.run_worker(run_once=True)
        assert [await app.get_result(each) for each in ids] == [0, 1, 2, 3, 4]
        await app.close()

    for _ in range(3):
        await _in_a_thread(use)


LOOP_AFTER_LOOP = """
import asyncio, sys
from soniq import Soniq

app = Soniq(sys.argv[1], schema=sys.argv[2], discover=False)

@app.job()
async def work(n: int) -> int:
    return n

async def use() -> None:
    ids = await asyncio.gather(*(app.enqueue(work, n) for n in range(5)))
    await app.run_worker(run_once=True)
    print([await app.get_result(each) for each in ids])

asyncio.run(use())
asyncio.run(use())
asyncio.run(app.close())
asyncio.run(use())
"""


def test_an_app_that_was_not_closed_is_used_again_once_its_event_loop_is(
    database_url: str, schema: str
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LOOP_AFTER_LOOP, database_url, schema],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout.split("\n") == ["[0, 1, 2, 3, 4]"] * 3 + [""], ran.stderr


async def test_a_first_use_that_fails_for_many_at_once_can_be_tried_again_in_another_loop(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(setup=None)

    async def use() -> None:
        results = await asyncio.gather(*(app.jobs() for _ in range(5)), return_exceptions=True)
        wrong = [each for each in results if not isinstance(each, list)]
        assert len(wrong) in (0, 5)
        assert all(isinstance(each, ConfigurationError) for each in wrong), wrong
        await app.close()

    monkeypatch.setenv("SONIQ_SETUP", "maybe")
    await _in_a_thread(use)
    await _in_a_thread(use)
    monkeypatch.delenv("SONIQ_SETUP")
    await _in_a_thread(use)


async def test_work_in_two_live_event_loops_is_a_clear_error(app: Soniq) -> None:
    await app.start()

    async def use() -> None:
        with pytest.raises(
            SoniqError,
            match="in use in another event loop; close it there, or make an app for each",
        ):
            await app.run_worker()

    await _in_a_thread(use)
    assert await app.jobs() == []
