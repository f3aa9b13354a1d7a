"""What cannot work gets a clear error, shows no password, and leaves nothing lost or half done."""

import asyncio
import os
import socket
import traceback
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from soniq import (
    Cancel,
    DatabaseError,
    DatabaseUnavailable,
    InvalidJobId,
    JobFailed,
    Soniq,
    SoniqError,
)
from soniq.errors import DistributionConflict, SchemaMissing, SchemaTooNew
from soniq.status import JobStatus
from soniq_embedded import EmbeddedServer
from tests.conftest import MakeApp
from tests.support.urls import as_role, of_database

Connection = asyncpg.Connection
PASSWORD = "s3cr3t-passw0rd"


async def known(app: Soniq, job_id: str) -> JobStatus:
    """The status of a job that exists."""
    status = await app.get_job_status(job_id)
    assert status is not None
    return status


def everything(error: BaseException) -> str:
    """All that a log could show of an error: the whole chain, with the attributes of each."""
    shown = "".join(traceback.format_exception(error))
    following: BaseException | None = error
    while following is not None:
        shown += f"{following}\n{following!r}\n{following.args!r}\n{vars(following)!r}\n"
        following = following.__cause__ or following.__context__
    return shown


async def refused(app: Soniq) -> DatabaseError:
    """The error that the first use of an app gets."""
    with pytest.raises(DatabaseError) as caught:
        await app.enqueue("anything")
    assert PASSWORD not in everything(caught.value)
    assert PASSWORD not in repr(app) + repr(app.settings)
    return caught.value


# --- the database --------------------------------------------------------------------------------


async def test_a_port_where_nobody_listens_is_named_and_the_password_is_not() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = await refused(
        Soniq(f"postgresql://me:{PASSWORD}@127.0.0.1:{port}/myapp", discover=False)
    )
    assert isinstance(error, DatabaseUnavailable)
    assert f"cannot connect to PostgreSQL at 127.0.0.1:{port}/myapp" in str(error)


async def test_a_host_that_does_not_exist_is_named_and_the_password_is_not() -> None:
    error = await refused(
        Soniq(f"postgresql://me:{PASSWORD}@nowhere.invalid/myapp", discover=False)
    )
    assert isinstance(error, DatabaseUnavailable)
    assert "cannot connect to PostgreSQL at nowhere.invalid:5432/myapp" in str(error)


async def test_a_socket_that_is_not_there_is_named_and_the_password_is_not(tmp_path: Path) -> None:
    error = await refused(
        Soniq(f"postgresql://me:{PASSWORD}@/myapp?host={tmp_path}", discover=False)
    )
    assert isinstance(error, DatabaseUnavailable)
    assert f"cannot connect to PostgreSQL at {tmp_path}/myapp" in str(error)


async def test_a_server_that_does_not_answer_is_given_up_after_the_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        url = f"postgresql://me:{PASSWORD}@127.0.0.1:{port}/myapp"
        error = await refused(Soniq(url, discover=False, connect_timeout=0.3))
    assert isinstance(error, DatabaseUnavailable)
    assert f"127.0.0.1:{port}/myapp" in str(error)


async def test_what_is_no_postgresql_is_told(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        error = await refused(
            Soniq(f"postgresql://me:{PASSWORD}@127.0.0.1:{port}/myapp", discover=False)
        )
    assert f"cannot connect to PostgreSQL at 127.0.0.1:{port}/myapp" in str(error)


async def test_a_process_without_a_user_is_told_so_where_the_url_names_none(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "PGUSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987_654)  # a container's, of which nobody has heard
    parts = urlsplit(database_url)
    url = f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}?{parts.query}"
    with pytest.raises(DatabaseError, match=r"cannot connect .*(uid|[Uu]ser)"):
        await Soniq(url, discover=False).start()


async def test_a_database_that_does_not_exist_is_named(database_url: str) -> None:
    error = await refused(Soniq(of_database(database_url, "nonexistent"), discover=False))
    assert isinstance(error, DatabaseUnavailable)
    assert "/nonexistent" in str(error)
    assert "does not exist" in str(error)


async def test_a_wrong_password_is_not_shown_and_the_right_one_works(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with EmbeddedServer(tmp_path_factory.mktemp("guarded"), options={"fsync": "off"}) as server:
        url = server.start()
        connection = await asyncpg.connect(url)
        await connection.execute(f"create role guest login password '{PASSWORD}-right'")
        await connection.execute(f"grant create on database {urlsplit(url).path[1:]} to guest")
        hba = Path(await connection.fetchval("show hba_file"))
        hba.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
        assert await connection.fetchval("select pg_reload_conf()")
        await connection.close()

        def as_guest(password: str) -> str:
            return as_role(url, "guest", password)

        error = await refused(Soniq(as_guest(f"{PASSWORD}-wr/ng@?#"), discover=False))
        assert isinstance(error, DatabaseUnavailable)
        assert 'password authentication failed for user "guest"' in str(error)
        assert "wr/ng" not in everything(error)
        async with Soniq(as_guest(f"{PASSWORD}-right"), discover=False) as app:
            assert await app.jobs() == []
            assert "-right" not in repr(app._database) + repr(app.settings)


async def test_after_an_unreachable_database_the_same_app_is_used_once_it_is_there(
    schema: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Soniq(schema=schema, discover=False)
    monkeypatch.setenv("SONIQ_DATABASE_URL", f"postgresql://me:{PASSWORD}@nowhere.invalid/myapp")
    await refused(app)
    monkeypatch.setenv("SONIQ_DATABASE_URL", database_url)
    assert await app.jobs() == []
    await app.close()


# --- the schema ----------------------------------------------------------------------------------


async def test_a_schema_that_is_too_new_for_this_code_is_refused_and_left_alone(
    app: Soniq, make_app: MakeApp, connection: Connection
) -> None:
    await app.start()
    name = app.settings.schema
    await connection.execute(
        f"insert into {name}.migration (namespace, version, oldest) values ('soniq', 998, 1)"
    )
    async with make_app():
        pass  # newer, but made so that this code can live with it
    await connection.execute(
        f"insert into {name}.migration (namespace, version, oldest) values ('soniq', 999, 999)"
    )
    for setup in (True, False):
        newer = make_app(setup=setup)
        with pytest.raises(
            SchemaTooNew, match=rf"{name}.*version 999.*this Soniq knows \d+\. Upgrade soniq-core"
        ):
            await newer.jobs()
    assert (
        await connection.fetchval(f"select count(*) from {name}.migration where version >= 998")
        == 2
    )


@pytest.mark.new_schema
async def test_a_schema_that_is_missing_is_not_made_with_setup_off(
    make_app: MakeApp, connection: Connection
) -> None:
    app = make_app(setup=False)
    with pytest.raises(SchemaMissing, match=r"are missing or older.*soniq setup") as caught:
        await app.enqueue("anything")
    name = app.settings.schema
    assert name in str(caught.value)
    assert await connection.fetchval("select to_regnamespace($1)", name) is None
    await make_app().start()
    assert await app.jobs() == []


@pytest.fixture
async def role(connection: Connection, database_url: str) -> AsyncIterator[str]:
    """A role that may log in and nothing else; its name."""
    name = f"guest_{uuid.uuid4().hex[:12]}"
    await connection.execute(f"create role {name} login password '{PASSWORD}'")
    yield name
    await connection.execute(f"drop owned by {name}; drop role {name}")


@pytest.mark.new_schema
async def test_a_role_that_may_not_create_is_told_what_to_do(
    make_app: MakeApp, connection: Connection, database_url: str, role: str, schema: str
) -> None:
    app = make_app(database_url=as_role(database_url, role, PASSWORD))
    error = await refused(app)
    assert isinstance(error, SchemaMissing)
    assert "cannot be created by this role (permission denied" in str(error)
    assert "soniq setup" in str(error)
    assert await connection.fetchval("select to_regnamespace($1)", schema) is None


async def test_a_role_that_may_not_read_the_tables_is_told_so(
    make_app: MakeApp, database_url: str, role: str
) -> None:
    await make_app().start()
    error = await refused(make_app(database_url=as_role(database_url, role, PASSWORD)))
    assert isinstance(error, SchemaMissing)
    assert "cannot be read by this role (permission denied" in str(error)


async def test_where_the_tables_are_current_no_right_to_create_is_needed(
    make_app: MakeApp, connection: Connection, database_url: str, role: str, schema: str
) -> None:
    await make_app().start()
    await connection.execute(f"grant usage on schema {schema} to {role}")
    await connection.execute(
        f"grant select, insert, update, delete on all tables in schema {schema} to {role}"
    )
    app = make_app(database_url=as_role(database_url, role, PASSWORD))

    @app.job(unique=True)
    async def work(n: int) -> int:
        return n

    ids = [await app.enqueue(work, 1), *await app.enqueue_many(work, [{"n": 2}], unique=False)]
    await app.run_worker(run_once=True)
    assert [await app.get_result(each) for each in ids] == [1, 2]


# --- ids -----------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Soniq, Any], Coroutine[Any, Any, object]]] = {
    "get_result": lambda app, wrong: app.get_result(wrong),
    "get_job_status": lambda app, wrong: app.get_job_status(wrong),
    "get_args": lambda app, wrong: app.get_args(wrong),
    "wait_for": lambda app, wrong: app.wait_for(wrong, timeout=5),
    "cancel": lambda app, wrong: app.cancel(wrong),
    "retry": lambda app, wrong: app.retry(wrong),
    "jobs": lambda app, wrong: app.jobs(before=wrong),
}


async def test_an_id_that_is_no_uuid_is_refused_by_every_method(app: Soniq) -> None:
    for name, call in CALLS.items():
        for wrong in ("", "5", "not-a-uuid", "\0", "\ud800", 5, b"x", object(), "0" * 31, "g" * 32):
            with pytest.raises(
                InvalidJobId, match="a job id is a UUID, as enqueue returns it; got"
            ) as caught:
                await call(app, wrong)
            assert caught.value.value is wrong, name
    for call in (CALLS["get_result"], CALLS["wait_for"]):
        with pytest.raises(InvalidJobId):
            await call(app, None)


# --- the other distribution ----------------------------------------------------------------------


async def test_the_original_distribution_beside_this_one_is_told(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "soniq-0.1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: soniq\nVersion: 0.1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        DistributionConflict,
        match=r"soniq 0\.1\.0 is installed beside soniq-core.*pip uninstall soniq",
    ):
        await make_app().start()


# --- rows ----------------------------------------------------------------------------------------


async def test_corrupt_arguments_end_that_job_dead_with_the_reason_and_their_neighbours_run(
    app: Soniq, connection: Connection
) -> None:
    @app.job(name="work")
    async def work(n: int) -> int:
        return n

    corrupt = [b"", b"\xff\xfe\x00", b'{"n":', b'{"n":"many"}', b"{}", b"[1]"]
    ids = [await app.enqueue(work, n) for n in range(2 * len(corrupt))]
    for job_id, stored in zip(ids[::2], corrupt, strict=True):
        await connection.execute(
            f"update {app.settings.schema}.job set args = $2 where id = $1",
            uuid.UUID(job_id),
            stored,
        )
    await app.run_worker(run_once=True)
    for n, (broken, sound) in enumerate(zip(ids[::2], ids[1::2], strict=True)):
        assert await app.get_result(sound) == 2 * n + 1
        status = await known(app, broken)
        assert (status["status"], status["result"]) == ("dead", None)
        assert status["error"] is not None
        assert "work: the stored arguments cannot be read (json): " in status["error"]["message"]
    with pytest.raises(JobFailed, match="cannot be read"):
        await app.wait_for(ids[0])


async def test_a_corrupt_result_is_an_error_of_whoever_reads_it_and_names_the_job(
    app: Soniq, connection: Connection
) -> None:
    @app.job(name="work")
    async def work(n: int) -> int:
        return n

    ids = [await app.enqueue(work, n) for n in range(2)]
    await app.run_worker(run_once=True)
    await connection.execute(
        f"update {app.settings.schema}.history set result = '\\xff' where id = $1",
        uuid.UUID(ids[0]),
    )
    for read in (app.get_result, app.wait_for):
        with pytest.raises(SoniqError, match="the result of work cannot be read"):
            await read(ids[0])
    assert await app.get_result(ids[1]) == 1
    assert len(await app.jobs()) == 2


async def test_arguments_of_a_serializer_that_is_not_here_are_told_and_the_neighbours_run(
    app: Soniq, connection: Connection
) -> None:
    @app.job(name="work", max_attempts=1)
    async def work(n: int) -> int:
        return n

    ids = [await app.enqueue(work, n) for n in range(2)]
    await connection.execute(
        f"update {app.settings.schema}.job set serializer = 'pickle' where id = $1",
        uuid.UUID(ids[0]),
    )
    await app.run_worker(run_once=True)
    error = (await known(app, ids[0]))["error"]
    assert error is not None
    assert "'pickle'" in error["message"]
    assert await app.get_result(ids[1]) == 1


# --- text that PostgreSQL cannot hold ------------------------------------------------------------


@pytest.mark.parametrize("how", [RuntimeError, Cancel])
async def test_an_error_or_a_reason_with_nul_or_half_a_character_is_kept_as_far_as_it_can_be(
    app: Soniq, how: Callable[[str], Exception]
) -> None:
    @app.job(max_attempts=1)
    async def work(text: str) -> None:
        raise how(f"before {text} \udcff after")

    @app.job()
    async def neighbour() -> int:
        return 1

    ids = [await app.enqueue(work, "\0"), await app.enqueue(neighbour)]
    await app.run_worker(run_once=True)
    status = await known(app, ids[0])
    assert status["status"] == ("dead" if how is RuntimeError else "cancelled")
    assert status["error"] is not None
    assert status["error"]["message"].startswith("before ")
    assert status["error"]["message"].endswith(" after")
    assert await app.get_result(ids[1]) == 1


async def test_a_reason_that_is_no_text_is_shown_as_text(app: Soniq) -> None:
    @app.job()
    async def work() -> None:
        raise Cancel(ValueError("no such user"))  # type: ignore[arg-type] # what people write

    job_id = await app.enqueue(work)
    await asyncio.wait_for(app.run_worker(run_once=True), 30)
    status = await known(app, job_id)
    assert status["status"] == "cancelled"
    assert status["error"] is not None
    assert status["error"]["message"] == "no such user"
