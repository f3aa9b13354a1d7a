"""The horizon alarm: a worker names what keeps PostgreSQL from cleaning up, and so does
`old_transactions`.
"""

import struct
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import psycopg
import pytest

from soniq import ConfigurationError, Soniq
from soniq_doctor import DoctorPlugin, HorizonHolder, old_transactions
from soniq_doctor.alarm import HorizonAlarm
from soniq_doctor.horizon import statement
from soniq_embedded import EmbeddedServer
from soniq_testing import check_plugin
from tests.conftest import MakeApp
from tests.core.postgres.support import own_database
from tests.support.jobs import working
from tests.support.waiting import eventually

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

SAID = "vacuum has been held back for"
SECRET = "the value in the query"


@pytest.fixture
async def own_app(database_url: str) -> AsyncIterator[Soniq]:
    """An app in a database of this test's own: the transactions there are this test's."""
    async with own_database(database_url) as url:
        plugins = [DoctorPlugin(horizon_alarm=1)]
        app = Soniq(url, plugins=plugins, discover=False, poll_interval=0.1, lease=1)
        await app.start()
        yield app
        await app.close()


@pytest.fixture
async def old(own_app: Soniq) -> "AsyncIterator[Connection]":
    """A connection with an open transaction that has seen a row, and is idle."""
    connection = await asyncpg.connect(
        own_app.database_url, server_settings={"application_name": "the report"}
    )
    await connection.execute("begin isolation level repeatable read")
    await connection.execute(f"select '{SECRET}'")
    yield connection
    await connection.close()


@pytest.fixture
def server() -> Iterator[str]:
    """The URL of a server that takes prepared transactions and replication."""
    options = {
        "max_prepared_transactions": "2",
        "wal_level": "replica",
        "max_wal_senders": "2",
        "fsync": "off",
    }
    with (
        tempfile.TemporaryDirectory(prefix="soniq-tests-") as folder,
        EmbeddedServer(Path(folder), options=options) as server,
    ):
        yield server.start()


def holder(
    *, name: str = "1", xid: str = "700", seconds: float | None = None, transactions: int = 5
) -> HorizonHolder:
    return {
        "kind": "transaction", "name": name, "user": "eva", "application": None, "state": None,
        "began_at": None, "query_began_at": None, "xid": xid, "seconds": seconds,
        "transactions": transactions,
    }  # fmt: skip


async def test_a_worker_names_an_old_transaction_and_not_what_it_asked(
    own_app: Soniq, old: "Connection", caplog: pytest.LogCaptureFixture
) -> None:
    async def said() -> bool:
        return SAID in caplog.text

    async with working(own_app):
        await eventually(said)
    (message,) = [each for each in caplog.messages if SAID in each][:1]
    user = await role_of(own_app)
    assert (
        f"transaction pid {old.get_server_pid()}, user {user!r}, application 'the report'"
        in message
    )
    assert "idle in transaction, began 20" in message
    assert "query began 20" in message
    assert SECRET not in caplog.text


async def role_of(app: Soniq) -> str:
    async with app.connection() as connection:
        return str(await connection.fetchval("select current_user"))


async def test_an_alarm_that_is_switched_off_says_nothing(
    own_app: Soniq, old: "Connection", make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    plugins = [DoctorPlugin(horizon_alarm=0)]
    app = make_app(database_url=own_app.database_url, schema="soniq", plugins=plugins, lease=1)
    async with working(app), app.connection() as connection:

        async def elected() -> bool:
            return bool(await connection.fetchval("select count(*) >= 2 from soniq.election"))

        await eventually(elected)
        names = {row["name"] for row in await connection.fetch("select name from soniq.election")}
    assert names == {"soniq.expiry", "soniq.retention"}


async def test_each_is_told_once_and_again_when_it_has_lasted_twice_as_long(
    own_app: Soniq, caplog: pytest.LogCaptureFixture
) -> None:
    alarm = HorizonAlarm(own_app, 1)

    def told(*seconds: float) -> int:
        caplog.clear()
        alarm.look([holder(name=str(number), seconds=each) for number, each in enumerate(seconds)])
        return caplog.text.count(SAID)

    assert told(0.5, 0.9) == 0
    assert told(1.5, 0.9) == 1
    assert told(1.6, 1.1) == 1
    assert told(2.9, 2.0) == 0
    assert told(3.0, 2.1) == 1
    assert told(0.1, 2.1) == 0
    assert told(6.0, 2.1) == 1


async def test_what_has_ended_and_come_back_is_another(
    own_app: Soniq, caplog: pytest.LogCaptureFixture
) -> None:
    alarm = HorizonAlarm(own_app, 1)
    alarm.look([holder(seconds=5)])
    alarm.look([])
    alarm.look([holder(seconds=5)])
    alarm.look([holder(seconds=5, xid="701")])
    assert caplog.text.count(SAID) == 3


async def test_one_whose_time_is_not_told_has_held_on_since_it_was_seen(
    own_app: Soniq, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarm = HorizonAlarm(own_app, 1)
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    alarm.look([holder()])
    clock[0] += 0.9
    alarm.look([holder()])
    assert SAID not in caplog.text
    clock[0] += 0.2
    alarm.look([holder()])
    assert caplog.text.count(SAID) == 1


async def test_old_transactions_are_those_of_this_database_only(
    own_app: Soniq, old: "Connection"
) -> None:
    async def shown() -> list[HorizonHolder]:
        return await old_transactions(own_app, longer_than=1)

    (found,) = await eventually(shown)
    assert found["name"] == str(old.get_server_pid())
    assert (found["kind"], found["application"], found["state"]) == (
        "transaction",
        "the report",
        "idle in transaction",
    )
    assert found["seconds"] is not None
    assert found["seconds"] >= 1
    await old.execute("rollback")
    assert await shown() == []


async def test_a_role_without_pg_monitor_sees_who_holds_on_though_not_since_when(
    own_app: Soniq, old: "Connection"
) -> None:
    name = f"test_{uuid.uuid4().hex[:12]}"
    async with own_app.connection() as connection:
        await connection.execute(f"create role {name}")
        try:
            await connection.execute(f"set role {name}")
            (row,) = [
                row
                for row in await connection.fetch(statement())
                if row["name"] == str(old.get_server_pid())
            ]
        finally:
            await connection.execute(f"reset role; drop role {name}")
    assert row["application"] == "the report"
    assert (row["seconds"], row["state"], row["began_at"]) == (None, None, None)
    assert row["transactions"] > 0


async def test_prepared_transactions_and_replication_slots_are_named(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Soniq(server, discover=False)
    await app.start()
    connection = await asyncpg.connect(server)
    await connection.execute("create table note (text text)")
    await connection.execute(
        "begin; insert into note values ('x'); prepare transaction 'left behind'"
    )
    await connection.execute("select pg_create_physical_replication_slot('standby')")
    horizon = await connection.fetchval("select pg_snapshot_xmin(pg_current_snapshot())::text::int")
    send_feedback(server, "standby", horizon)
    await connection.execute(
        "do $$ begin for n in 1 .. 3 loop insert into note values ('y'); commit; end loop; end $$"
    )

    async with app.connection() as own:
        rows = {row["kind"]: row for row in await own.fetch(statement())}
    assert rows["prepared transaction"]["name"] == "left behind"
    assert rows["prepared transaction"]["seconds"] > 0
    assert rows["replication slot"]["name"] == "standby"
    assert rows["replication slot"]["xid"] == str(horizon)
    assert rows["replication slot"]["transactions"] >= 3
    assert [each["name"] for each in await old_transactions(app, 0.001)] == ["left behind"]
    monkeypatch.setattr("soniq_doctor.horizon.MANY", 3)
    assert {each["name"] for each in await old_transactions(app, 0.001)} == {
        "left behind",
        "standby",
    }
    await connection.execute("rollback prepared 'left behind'")
    await connection.close()
    await app.close()


def send_feedback(url: str, slot: str, xmin: int) -> None:
    """Be a standby that says which rows its queries still need (hot_standby_feedback), and is then
    cut off.
    """
    pgconn = psycopg.pq.PGconn.connect(
        f"{url}{'&' if '?' in url else '?'}replication=true".encode()
    )
    assert pgconn.status == psycopg.pq.ConnStatus.OK, pgconn.error_message
    system = pgconn.exec_(b"IDENTIFY_SYSTEM")
    place = system.get_value(0, 2)
    assert place is not None
    started = pgconn.exec_(b"START_REPLICATION SLOT " + slot.encode() + b" PHYSICAL " + place)
    assert started.status == psycopg.pq.ExecStatus.COPY_BOTH, pgconn.error_message
    pgconn.put_copy_data(b"h" + struct.pack(">qIIII", 0, xmin, 0, 0, 0))
    pgconn.put_copy_end()
    while pgconn.get_copy_data(0)[0] > 0:
        pass
    pgconn.finish()


@pytest.mark.parametrize("wrong", ["-1", "soon", "nan", "1e99"])
def test_an_option_that_is_no_number_of_seconds_is_refused(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONIQ_DOCTOR_HORIZON_ALARM", wrong)
    with pytest.raises(ConfigurationError, match=f"HORIZON_ALARM is .*; got {wrong!r}"):
        DoctorPlugin()
    with pytest.raises(ConfigurationError, match=r"horizon_alarm=\) is a number of seconds"):
        DoctorPlugin(float("nan"))


def test_the_option_is_the_argument_else_the_variable_else_five_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert DoctorPlugin().horizon_alarm == 300
    monkeypatch.setenv("SONIQ_DOCTOR_HORIZON_ALARM", "60")
    assert DoctorPlugin().horizon_alarm == 60
    assert DoctorPlugin(0).horizon_alarm == 0
    assert DoctorPlugin(timedelta(minutes=2)).horizon_alarm == 120


async def test_the_plugin_keeps_to_the_contract() -> None:
    await check_plugin(DoctorPlugin(horizon_alarm=0.001))
