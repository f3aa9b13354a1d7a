"""A password is in no variable that an error leads to, in no repr, and in nothing that a person is
shown.
"""

import pickle
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import FrameType, TracebackType
from typing import Any
from urllib.parse import quote

import pytest

from soniq import Settings, Soniq, hookimpl
from soniq.plugin import Secret
from soniq.settings import load
from tests.support.urls import as_role, of_database, with_parameter

PASSWORD = "hunter2-of-the-database"
URL = f"postgresql://shop:{PASSWORD}@127.0.0.1:1/shop"


def frames(error: BaseException | None) -> Iterator[FrameType]:
    """Every frame that an error leads to, also through those that led to it, except this file's
    own.
    """
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        trace: TracebackType | None = each.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename != __file__:
                yield trace.tb_frame
            trace = trace.tb_next
        waiting += [each.__cause__, each.__context__]


def shown(error: BaseException) -> list[str]:
    """Where the password can be seen, as those see it who print variables."""
    found = [
        f"{frame.f_code.co_qualname}: {name}"
        for frame in frames(error)
        for name, value in frame.f_locals.items()
        if PASSWORD in _repr(value)
    ]
    if PASSWORD in "".join(
        traceback.TracebackException.from_exception(error, capture_locals=False).format()
    ):
        found.append("the traceback itself")
    return found


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # an object that is not whole yet
        return ""


async def raised(awaited: Awaitable[object]) -> BaseException:
    try:
        await awaited
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


class Lifespan:
    """A plugin whose lifespan fails."""

    name = "failing"

    @hookimpl
    async def lifespan(self, app: Soniq | None) -> AsyncIterator[None]:
        if app is not None:
            raise LookupError("no lifespan")
        yield


class Provided:
    """A plugin that provides the URL."""

    name = "provided"

    def __init__(self, url: str) -> None:
        self.url = Secret(url)

    @hookimpl
    def database_url(self, app: Soniq) -> str:
        return self.url


STARTS: dict[str, Callable[[], Soniq]] = {
    "nobody listens": lambda: Soniq(URL, discover=False),
    "several hosts": lambda: Soniq(
        URL.replace("127.0.0.1:1", "127.0.0.1:1,127.0.0.1:2"), discover=False
    ),
    "behind a pgbouncer": lambda: Soniq(URL, discover=False, pgbouncer=True),
    "no scheme of PostgreSQL's": lambda: Soniq(URL.replace("postgresql", "mysql"), discover=False),
    "a character in the password": lambda: Soniq(
        f"postgresql://shop:{PASSWORD}/#@host/shop", discover=False
    ),
    "a setting beside it": lambda: Soniq(URL, discover=False, concurrency=0),
    "a setting that is none": lambda: Soniq(URL, discover=False, concurency=1),
    "a lifespan that fails": lambda: Soniq(URL, discover=False, plugins=[Lifespan()]),
    "a plugin's URL": lambda: Soniq(discover=False, plugins=[Provided(URL)]),
    "a plugin's wrong URL": lambda: Soniq(
        discover=False, plugins=[Provided(URL.replace("postgresql", "mysql"))]
    ),
    "a plugin that is none": lambda: Soniq(URL, discover=False, plugins=[object()]),
}


@pytest.mark.parametrize("make", STARTS.values(), ids=STARTS.keys())
async def test_a_start_that_fails_leads_to_no_password(make: Callable[[], Soniq]) -> None:
    error = await raised(make().start())
    assert list(frames(error)), "the search sees no frame"
    assert shown(error) == []


async def test_nor_does_one_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {"SONIQ_DATABASE_URL": URL, "SONIQ_CONCURRENCY": "0"}.items():
        monkeypatch.setenv(variable, value)
        assert shown(await raised(Soniq(discover=False).start())) == []


async def test_nor_does_a_password_that_the_server_refuses(
    database_url: str, connection: Any, schema: str
) -> None:
    role = f"role_{schema}"
    await connection.execute(f"create role {role} login password 'another'")
    try:
        url = of_database(as_role(database_url, role, PASSWORD), "no_such_database")
        assert shown(await raised(Soniq(url, discover=False).start())) == []
    finally:
        await connection.execute(f"drop role {role}")


async def test_nor_does_an_error_while_it_runs(database_url: str, schema: str) -> None:
    url = with_parameter(database_url, f"password={quote(PASSWORD)}")
    async with Soniq(url, discover=False, schema=schema) as app:

        @app.job(name="fail", max_attempts=1)
        async def fail() -> None:
            async with app.connection() as connection:
                await connection.execute("select no_such_function()")

        seen: list[BaseException] = []
        app.on_error(lambda ctx, error: seen.append(error))
        await app.enqueue("fail")
        await app.run_worker(run_once=True)
        wrong = app.jobs(status="none")  # type: ignore[arg-type]
        for awaited in (app.enqueue("unknown"), wrong, app.wait_for("no-id")):
            seen.append(await raised(awaited))

    assert len(seen) == 4
    assert [shown(error) for error in seen] == [[]] * 4


def test_settings_are_shown_without_it() -> None:
    settings = load({"database_url": URL})
    assert PASSWORD not in repr(settings)
    assert PASSWORD not in repr(settings.__rich_repr__())
    assert ("database_url", "127.0.0.1:1/shop") in settings.__rich_repr__()
    assert {name for name, _ in settings.__rich_repr__()} == set(Settings.__struct_fields__)


def test_rich_shows_neither_settings_nor_a_secret() -> None:
    from rich.pretty import pretty_repr

    for value in (
        load({"database_url": URL}),
        Secret(URL * 9),
        [Secret(URL)],
        {"url": Secret(URL)},
    ):
        assert PASSWORD not in pretty_repr(value, max_string=20)


def test_a_secret_is_a_string_in_all_but_its_repr() -> None:
    secret = Secret("hunter2")
    assert secret == "hunter2"
    assert f"{secret}" == str(secret) == "hunter2"
    assert repr(secret) == f"{secret!r}" == "Secret('***')"
    assert secret.upper() == "HUNTER2"
    assert repr([secret]) == "[Secret('***')]"
    copied = pickle.loads(pickle.dumps(secret))
    assert (copied, repr(copied)) == ("hunter2", "Secret('***')")
