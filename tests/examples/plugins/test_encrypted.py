"""soniq-encrypted: what is in the database, what is read from it, and what its errors say."""

import base64
import enum
import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from soniq import (
    ConfigurationError,
    InvalidArguments,
    JobContext,
    JobId,
    SerializationError,
    Soniq,
    Unique,
)
from soniq.plugin import Serializer, presented
from soniq_encrypted import DecryptionError, EncryptedPlugin
from soniq_testing import check_plugin
from tests.conftest import MakeApp

from .conftest import Run, Stored

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

EncryptedApp = Callable[..., Soniq]

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
SECRET = "a-plain-secret"


class Currency(enum.StrEnum):
    EUR = "EUR"


@dataclass
class Payment:
    account: str
    amount: Decimal
    due: datetime
    after: JobId | None = None


def serializer(keys: Mapping[str, bytes]) -> Serializer:
    """What the plugin offers for these keys."""
    (offered,) = EncryptedPlugin(keys).serializers()
    return offered


def encoded(key_id: str, key: bytes) -> str:
    """A key as SONIQ_ENCRYPTED_KEYS has it."""
    return f"{key_id}:{base64.b64encode(key).decode()}"


@pytest.fixture
def encrypted(make_app: MakeApp) -> EncryptedApp:
    """Makes apps with the plugin: keys, and its options."""

    def encrypted(keys: Mapping[str, bytes] | None = None, **options: Any) -> Soniq:
        return make_app(plugins=[EncryptedPlugin(keys or {"old": OLD}, **options)])

    return encrypted


async def test_operators_are_not_shown_what_is_encrypted(encrypted: EncryptedApp) -> None:
    app = encrypted()

    @app.job(serializer="encrypted")
    async def echo(text: str) -> None: ...

    job_id = await app.enqueue(echo, SECRET)
    read = partial(app.get_args, job_id)
    shown = await presented(app, echo.name, "args", read, serializer="encrypted")
    assert shown == "*** (what the serializer 'encrypted' has written is not shown)"
    assert await app.get_args(job_id) == {"text": SECRET}


class TestStored:
    async def test_neither_arguments_nor_result_are_in_the_database_in_plain(
        self, encrypted: EncryptedApp, run: Run, stored: Stored
    ) -> None:
        app = encrypted()

        @app.job(serializer="encrypted")
        async def echo(text: str) -> str:
            return f"{text}-result"

        await app.enqueue(echo, SECRET)
        assert SECRET not in await stored()
        assert (await run(app, echo, text=SECRET))["result"] == f"{SECRET}-result"
        assert SECRET not in await stored()

    async def test_what_is_not_encrypted_is_found_by_the_same_look(
        self, encrypted: EncryptedApp, run: Run, stored: Stored
    ) -> None:
        app = encrypted()

        @app.job()
        async def echo(text: str) -> str:
            return text

        await run(app, echo, text=SECRET)
        assert SECRET in await stored()

    async def test_a_value_is_never_encrypted_to_the_same_bytes(self) -> None:
        assert len({serializer({"old": OLD}).dumps(SECRET) for _ in range(100)}) == 100

    async def test_a_job_that_was_stored_as_json_runs_when_encryption_is_the_default(
        self, make_app: MakeApp, encrypted: EncryptedApp
    ) -> None:
        async def double(number: int) -> int:
            return number * 2

        before, after = make_app(), encrypted(default=True)
        job_id = await before.enqueue(before.job(name="double")(double), 21)
        after.job(name="double")(double)
        await after.run_worker(run_once=True)
        assert await after.get_result(job_id) == 42

    async def test_the_dedup_key_is_a_hash_of_the_plain_arguments(
        self, encrypted: EncryptedApp, connection: "Connection", schema: str
    ) -> None:
        app = encrypted()

        @app.job(serializer="encrypted", unique=True)
        async def once(text: str) -> None: ...

        first, second = await app.enqueue(once, SECRET), await app.enqueue(once, SECRET)
        assert first == second
        (row,) = await connection.fetch(f"select dedup_key from {schema}.job")
        canonical = json.dumps({"text": SECRET}, separators=(",", ":")).encode()
        assert row["dedup_key"] == hashlib.sha256(canonical).hexdigest()


class TestTypes:
    async def test_typed_arguments_arrive_as_what_they_are_and_so_does_the_result(
        self, encrypted: EncryptedApp, run: Run
    ) -> None:
        app = encrypted()
        seen: list[object] = []

        @app.job(serializer="encrypted")
        async def pay(payment: Payment, currency: Currency = Currency.EUR) -> Payment:
            seen.append((payment, currency))
            return payment

        job_id = await app.enqueue(
            pay, Payment("DE02", Decimal("1.10"), datetime(2030, 1, 31, tzinfo=UTC))
        )
        payment = Payment("DE02", Decimal("1.10"), datetime(2030, 1, 31, tzinfo=UTC), JobId(job_id))
        assert (await run(app, pay, payment=payment))["result"] == payment
        assert seen[1] == (payment, Currency.EUR)

    async def test_an_argument_of_another_type_is_refused_at_the_enqueue_by_name(
        self, encrypted: EncryptedApp
    ) -> None:
        app = encrypted()

        @app.job(serializer="encrypted")
        async def pay(amount: int) -> None: ...

        with pytest.raises(
            InvalidArguments, match=r"the argument 'amount' .*Expected `int`, got `str`"
        ):
            await app.enqueue(pay, SECRET)

    async def test_a_value_that_does_not_fit_is_not_quoted_in_what_is_kept_and_logged(
        self,
        make_app: MakeApp,
        encrypted: EncryptedApp,
        stored: Stored,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        async def older(kind: str) -> None: ...
        async def newer(kind: Currency) -> None: ...

        before, after = encrypted(), encrypted()
        job_id = await before.enqueue(before.job(name="pay", serializer="encrypted")(older), SECRET)
        after.job(name="pay", serializer="encrypted")(newer)
        await after.run_worker(run_once=True)
        status = await after.get_job_status(job_id)
        assert status is not None
        assert status["error"] is not None
        assert status["status"] == "dead"
        assert status["error"]["message"].endswith(
            "a value that does not fit its type - at `$.kind`"
        )
        assert SECRET not in await stored()
        assert SECRET not in caplog.text

    @pytest.mark.parametrize(
        ("value", "type_", "message"),
        [
            ({"text": SECRET}, dict[str, int], r"Expected `int`, got `str` - at `\$\[\.\.\.\]`"),
            ([SECRET], list[Currency], r"a value that does not fit its type - at `\$\[0\]`"),
            ({SECRET: 1}, dict[int, int], r"Expected `int`, got `str` - at `key` in `\$`"),
            (f"{SECRET} - at `$.x`", Currency, "a value that does not fit its type"),
            (SECRET, datetime, "a value that does not fit its type"),
        ],
    )
    def test_what_msgspec_says_is_passed_on_without_the_value(
        self, value: Any, type_: Any, message: str
    ) -> None:
        offered = serializer({"old": OLD})
        with pytest.raises(ValueError, match=message) as caught:
            offered.loads(offered.dumps(value), type_)
        assert SECRET not in str(caught.value)
        assert caught.value.__context__ is None


class TestKeys:
    async def test_after_a_rotation_the_old_is_read_and_the_new_is_written(
        self, encrypted: EncryptedApp, connection: "Connection", schema: str
    ) -> None:
        async def echo(text: str) -> str:
            return text

        before, after = encrypted({"old": OLD}), encrypted({"new": NEW, "old": OLD})
        job_id = await before.enqueue(before.job(name="echo", serializer="encrypted")(echo), SECRET)
        after.job(name="echo", serializer="encrypted")(echo)
        await after.run_worker(run_once=True)
        assert await after.get_result(job_id) == SECRET
        (row,) = await connection.fetch(f"select args, result from {schema}.history")
        assert row["args"].startswith(b"\x01\x01\x03old")
        assert row["result"].startswith(b"\x01\x01\x03new")

    async def test_a_job_whose_key_is_missing_is_dead_says_so_and_runs_once_it_is_there(
        self, encrypted: EncryptedApp, run: Run, stored: Stored
    ) -> None:
        async def echo(text: str) -> str:
            return text

        writer, reader = encrypted({"new": NEW, "old": OLD}), encrypted({"old": OLD})
        for app in (writer, reader):
            app.job(name="echo", serializer="encrypted")(echo)
        job_id = await writer.enqueue("echo", SECRET)
        await reader.run_worker(run_once=True)
        status = await reader.get_job_status(job_id)
        assert status is not None
        assert status["error"] is not None
        assert status["status"] == "dead"
        assert "no key has the id 'new' here; there are old" in status["error"]["message"]
        assert SECRET not in await stored()
        with pytest.raises(SerializationError, match="no key has the id 'new' here"):
            await reader.get_args(job_id)

        await writer.retry(job_id)
        await writer.run_worker(run_once=True)
        assert await writer.get_result(job_id) == SECRET

    def test_another_key_of_the_same_id_is_said(self) -> None:
        data = serializer({"old": OLD}).dumps(SECRET)
        with pytest.raises(DecryptionError, match="do not fit the key 'old'") as caught:
            serializer({"old": NEW}).loads(data, str)
        assert caught.value.__cause__ is None

    def test_no_byte_can_be_changed(self) -> None:
        offered = serializer({"old": OLD})
        data = offered.dumps(SECRET)
        for place in range(len(data)):
            changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            with pytest.raises(DecryptionError):
                offered.loads(changed, str)

    def test_no_byte_can_be_missing_or_added(self) -> None:
        offered = serializer({"old": OLD})
        data = offered.dumps(SECRET)
        for changed in (*(data[:length] for length in range(len(data))), data + b"\0"):
            with pytest.raises(DecryptionError):
                offered.loads(changed, str)

    def test_the_id_of_a_key_cannot_be_exchanged_for_that_of_the_same_key(self) -> None:
        offered = serializer({"one": OLD, "two": OLD})
        with pytest.raises(DecryptionError, match="do not fit the key 'two'"):
            offered.loads(offered.dumps(SECRET).replace(b"one", b"two"), str)


class TestWhoseBytesTheyAre:
    """A ciphertext is bound to its row: it is good for nothing in another place."""

    @pytest.fixture
    def app(self, encrypted: EncryptedApp) -> Soniq:
        app = encrypted(default=True)

        @app.job(name="echo", max_attempts=1)
        async def echo(text: str) -> str:
            return text

        @app.job(name="other", max_attempts=1)
        async def other(text: str) -> str:
            return text

        return app

    async def refused(self, app: Soniq, job_id: object) -> bool:
        """Whether a job is dead for what is encrypted in its row."""
        status = await app.get_job_status(str(job_id), result=False)
        assert status is not None
        error = status["error"] or {"message": ""}
        return status["status"] == "dead" and "do not fit the key" in error["message"]

    async def test_arguments_that_were_moved_to_another_row_are_refused(
        self, app: Soniq, connection: "Connection", schema: str
    ) -> None:
        first, second = await app.enqueue("echo", "a"), await app.enqueue("echo", "b")
        await connection.execute(
            f"update {schema}.job set args = (select args from {schema}.job where id = $1)"
            " where id = $2", str(first), str(second),
        )  # fmt: skip
        await app.run_worker(run_once=True)
        assert await app.get_result(first) == "a"
        assert await self.refused(app, second)

    async def test_arguments_are_no_result_and_a_result_is_no_arguments(
        self, app: Soniq, connection: "Connection", schema: str
    ) -> None:
        job_id = await app.enqueue("echo", "a")
        await app.run_worker(run_once=True)
        await connection.execute(f"update {schema}.history set args = result, result = args")
        for read in (app.get_result, app.get_args):
            with pytest.raises(SerializationError, match="do not fit the key"):
                await read(job_id)

    async def test_arguments_are_those_of_no_job_of_another_name(
        self, app: Soniq, connection: "Connection", schema: str
    ) -> None:
        job_id = await app.enqueue("echo", "a")
        await connection.execute(f"update {schema}.job set name = 'other'")
        await app.run_worker(run_once=True)
        assert await self.refused(app, job_id)

    @pytest.mark.parametrize("way", ["one", "many", "copied", "connection", "child", "keyed"])
    async def test_whichever_way_a_job_comes_in_its_arguments_are_bound_to_it(
        self, app: Soniq, connection: "Connection", schema: str, way: str
    ) -> None:
        @app.job(name="parent")
        async def parent(ctx: JobContext) -> None:
            await ctx.enqueue("echo", text="a")

        if way == "child":
            await app.enqueue("parent")
        elif way == "connection":
            async with connection.transaction():
                await app.enqueue("echo", "a", connection=connection)
        elif way in ("many", "copied"):
            await app.enqueue_many("echo", [{"text": "a"}] * (3 if way == "many" else 70))
        else:
            await app.enqueue("echo", "a", **({"dedup_key": "k"} if way == "keyed" else {}))
        await app.run_worker(run_once=True)
        rows = await connection.fetch(
            f"select args, result from {schema}.history where name = 'echo'"
        )
        assert rows
        assert all(each[1] == 1 for row in rows for each in row)

    async def test_arguments_that_may_replace_others_are_bound_to_the_jobs_name(
        self, app: Soniq, connection: "Connection", schema: str
    ) -> None:
        @app.job(name="latest", unique=Unique(by=("key",), on_conflict="replace"))
        async def latest(key: int, text: str) -> str:
            return text

        first = await app.enqueue("latest", 1, "a")
        second = await app.enqueue("latest", 1, "b")
        assert (second, second.replaced) == (first, True)
        stolen = await app.enqueue("other", "c", delay=60)
        await connection.execute(
            f"update {schema}.job set args = (select args from {schema}.job where id = $1),"
            " scheduled_at = now() where id = $2", str(first), str(stolen),
        )  # fmt: skip
        await app.run_worker(run_once=True)
        assert await app.get_result(first) == "b"
        assert await self.refused(app, stolen)

    async def test_a_template_is_read_as_what_it_is_and_is_no_jobs_arguments(
        self, app: Soniq, connection: "Connection", schema: str
    ) -> None:
        await app.start()
        data = await app.dump_arguments("echo", {"text": "a"})
        assert await app.load_arguments("echo", data) == {"text": "a"}
        job_id = await app.enqueue("echo", "b")
        await connection.execute(f"update {schema}.job set args = $1", data)
        await app.run_worker(run_once=True)
        assert await self.refused(app, job_id)


class TestConfiguration:
    async def test_the_environment_gives_keys_and_the_default(
        self, make_app: MakeApp, run: Run, stored: Stored, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SONIQ_ENCRYPTED_KEYS", f"{encoded('new', NEW)}, {encoded('old', OLD)}")
        monkeypatch.setenv("SONIQ_ENCRYPTED_DEFAULT", "true")
        app = make_app(plugins=[EncryptedPlugin()])

        @app.job()
        async def echo(text: str) -> str:
            return text

        @app.job(serializer="json")
        async def plain(number: int) -> int:
            return number + 900_000

        assert (await run(app, echo, text=SECRET))["result"] == SECRET
        assert SECRET not in await stored()
        await run(app, plain, number=99)
        assert "900099" in await stored()

    async def test_it_is_found_where_it_is_installed(
        self, make_app: MakeApp, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SONIQ_PLUGINS", "encrypted")
        monkeypatch.setenv("SONIQ_ENCRYPTED_KEYS", encoded("old", OLD))
        app = make_app(discover=True)

        @app.job(serializer="encrypted")
        async def echo(text: str) -> str:
            return text

        assert (await run(app, echo, text=SECRET))["result"] == SECRET

    async def test_without_keys_it_does_nothing_and_says_so_once(
        self, make_app: MakeApp, run: Run, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "soniq.encrypted")
        app = make_app(plugins=[EncryptedPlugin()])

        @app.job()
        async def echo(text: str) -> str:
            return text

        assert (await run(app, echo, text=SECRET))["result"] == SECRET
        assert [r.message for r in caplog.records if r.name == "soniq.encrypted"] == [
            "SONIQ_ENCRYPTED_KEYS is not set: nothing is encrypted"
        ]

    async def test_a_job_that_is_to_be_encrypted_without_keys_ends_the_start(
        self, make_app: MakeApp
    ) -> None:
        app = make_app(plugins=[EncryptedPlugin()])

        @app.job(name="echo", serializer="encrypted")
        async def echo() -> None: ...

        with pytest.raises(
            ConfigurationError, match="echo is to be encrypted, and there is no key"
        ):
            await app.start()

    def test_encrypting_all_jobs_without_keys_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="there is no key: set SONIQ_ENCRYPTED_KEYS"):
            EncryptedPlugin(default=True)

    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            (base64.b64encode(OLD).decode(), "key number 1 is not written as id:base64"),
            (f"{encoded('a', OLD)},", "key number 2 is not written as id:base64"),
            (f"{encoded('a', OLD)},{encoded('a', NEW)}", "two keys have the id 'a'"),
            (f"a:{base64.b64encode(OLD).decode()[:-1]}", "the key 'a' is no base64"),
            ("a:not base64!", "the key 'a' is no base64"),
            (encoded("a", OLD[:31]), "the key 'a' must be 32 bytes"),
            (encoded("an id", OLD), "key number 1 is not written as id:base64"),
        ],
    )
    def test_keys_that_cannot_be_used_are_refused_and_not_repeated(
        self, keys: str, message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SONIQ_ENCRYPTED_KEYS", keys)
        with pytest.raises(ConfigurationError, match=message) as caught:
            EncryptedPlugin()
        assert not re.search("AAEC|not base64!", str(caught.value))  # how OLD begins in base64
        assert caught.value.__cause__ is None

    @pytest.mark.parametrize(
        "keys", [{}, {"": OLD}, {"a b": OLD}, {"a": OLD[:16]}, {"a": "AAEC" * 8}]
    )
    def test_keys_as_arguments_are_checked_too(self, keys: Any) -> None:
        with pytest.raises(ConfigurationError) as caught:
            EncryptedPlugin(keys)
        assert "AAEC" not in str(caught.value)

    def test_a_default_that_is_neither_true_nor_false_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SONIQ_ENCRYPTED_DEFAULT", "maybe")
        with pytest.raises(
            ConfigurationError, match="SONIQ_ENCRYPTED_DEFAULT is true or false, not 'maybe'"
        ):
            EncryptedPlugin()

    async def test_no_key_is_in_a_log_or_a_repr(
        self, make_app: MakeApp, run: Run, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        plugin = EncryptedPlugin({"new": NEW, "old": OLD})
        app = make_app(plugins=[plugin])

        @app.job(serializer="encrypted", max_attempts=1)
        async def fails(text: str) -> None:
            raise RuntimeError("it failed")

        await run(app, fails, text=SECRET)
        shown = caplog.text + repr(plugin) + "".join(map(repr, vars(plugin).values()))
        assert repr(plugin) == "<EncryptedPlugin <Keys new, old>>"
        for key in (OLD, NEW):
            for form in (str(key), key.hex(), base64.b64encode(key).decode()):
                assert form not in shown


async def test_it_keeps_to_the_contract(database_url: str) -> None:
    await check_plugin(EncryptedPlugin({"old": OLD}, default=True), database_url=database_url)
