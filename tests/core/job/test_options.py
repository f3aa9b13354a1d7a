"""Options as people write them: a `timedelta`, a list of delays, a name that is nearly right,
values that cannot be.
"""

import functools
import logging
import re
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import asyncpg
import numpy
import pytest

from soniq import (
    Cancel,
    ConfigurationError,
    InvalidArguments,
    InvalidOption,
    JobContext,
    Jobs,
    Retry,
    Settings,
    Snooze,
    Soniq,
    WaitTimeout,
    hookimpl,
)
from soniq.errors import JobDefinitionError, PluginError
from soniq.plugin import EnqueueBatch, JobDefinition, Outcome
from soniq.settings import load
from tests.conftest import MakeApp

MINUTE = timedelta(minutes=1)


async def send(to: str = "a") -> None: ...


async def test_a_timedelta_is_taken_wherever_seconds_are(
    app: Soniq, connection: "asyncpg.Connection[Any]"
) -> None:
    job = app.job(name="send", timeout=MINUTE, expires=2 * MINUTE, keep=3 * MINUTE, retry=MINUTE)(
        send
    )
    await app.enqueue(job, delay=MINUTE)
    row = await connection.fetchrow(
        "select extract(epoch from scheduled_at - created_at)::float8 as delay, keep,"
        " extract(epoch from expires_at - created_at)::float8 as expires from"
        f" {app.settings.schema}.job"
    )
    assert row is not None
    assert (row["delay"], row["keep"]) == (60.0, 180.0)
    assert row["expires"] == pytest.approx(120.0, abs=1)
    waiting = await job.using(
        timeout=MINUTE, expires=2 * MINUTE, keep=MINUTE, delay=timedelta(hours=0)
    ).enqueue()
    with pytest.raises(WaitTimeout):
        await app.wait_for(waiting, timeout=timedelta(milliseconds=10))
    assert await app.prune(older_than=MINUTE) == 0
    Jobs(timeout=MINUTE)
    assert load({"grace": MINUTE, "keep": 2 * MINUTE}, {}) == load({"grace": 60, "keep": 120}, {})
    assert (Retry(MINUTE).delay, Snooze(MINUTE).delay) == (60.0, 60.0)
    for wrong in (-MINUTE, timedelta(days=40_000)):
        with pytest.raises(InvalidOption, match="delay= is between 0 and"):
            await app.enqueue(job, delay=wrong)


async def test_a_list_of_delays_is_one_for_each_retry_and_the_last_for_all_that_follow(
    app: Soniq,
) -> None:
    delays: list[float | None] = []

    @app.job(name="fail", retry=[0.001, timedelta(milliseconds=2), 0.003], max_attempts=5)
    async def fail() -> None:
        raise ValueError

    @hookimpl
    def settled(outcomes: Any) -> None:
        delays.extend(each.delay for each in outcomes)

    plugin = type("Plugin", (), {"name": "watch", "settled": staticmethod(settled)})()
    app._plugins = (plugin,)
    await app.enqueue(fail)
    worker_jobs = 0
    while worker_jobs < 5:
        worker_jobs += await app.run_worker(run_once=True)
    assert delays == [0.001, 0.002, 0.003, 0.003, None]
    wrong: Any
    for wrong in ([], [1, -1], ["1"], [[1]]):
        with pytest.raises(InvalidOption, match="retry="):
            app.job(retry=wrong)


async def test_a_snooze_says_why_in_one_line_of_the_log(
    app: Soniq, caplog: pytest.LogCaptureFixture
) -> None:
    @app.job(name="wait")
    async def wait(ctx: JobContext) -> None:
        raise Snooze(3600, "the shop\nERROR is closed")

    caplog.set_level(logging.INFO, "soniq")
    await app.enqueue(wait)
    await app.run_worker(run_once=True)
    assert "was snoozed for 3600 s: the shop ERROR is closed" in caplog.text
    assert str(Snooze(60, "closed")) == "snooze for 60 s: closed"
    assert Snooze(60).reason is None


async def test_a_name_that_is_nearly_right_is_hinted_at(app: Soniq) -> None:
    job = app.job(name="send")(send)
    with pytest.raises(
        InvalidArguments, match=r"unexpected keyword argument 'delya'; did you mean delay=\?"
    ):
        await app.enqueue(job, delya=5)
    with pytest.raises(InvalidArguments, match=r"'too'; did you mean to=\?"):
        await app.enqueue(job, too="x")
    with pytest.raises(InvalidOption, match=r"no option delya=; did you mean delay=\?"):
        job.using(delya=5)  # type: ignore[call-arg] # what it is about
    with pytest.raises(
        InvalidOption, match=r"no option max_attemps=; did you mean max_attempts=\?"
    ):
        app.job(max_attemps=5)  # type: ignore[call-overload] # what it is about


async def test_a_variable_and_a_queue_that_are_nearly_right_are_warned_of(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SONIQ_CONCURENCY", "5")
    monkeypatch.setenv("SONIQ_RESULTS_URL", "file:///tmp")
    app = make_app()
    app.job(name="send", queue="mail")(send)
    await app.run_worker(queues=["mial", "mail", "other"], run_once=True)
    told = [
        record.getMessage() for record in caplog.records if "did you mean" in record.getMessage()
    ]
    assert told == [
        "SONIQ_CONCURENCY in the environment is not a setting; did you mean SONIQ_CONCURRENCY?",
        "no job of this app has the queue 'mial'; did you mean 'mail'?",
    ]


async def test_values_that_cannot_be_are_errors_that_name_the_option(app: Soniq) -> None:
    job = app.job(name="send")(send)
    for option, value in (
        ("timeout", 10**400), ("timeout", float("inf")), ("timeout", float("nan")),
        ("priority", 10**5000), ("delay", 10**5000), ("max_attempts", -(10**5000)),
        ("queue", 10**5000), ("tags", 10**5000), ("unique", 10**5000), ("headers", 10**5000),
        ("keep", 10**400), ("notify", 10**5000), ("args", 10**5000), ("scheduled_at", 10**5000),
        ("dedup_key", 10**5000),
    ):  # fmt: skip
        with pytest.raises(InvalidOption, match=f"^{option}=") as caught:
            await app.enqueue(job, **{option: value})
        assert caught.value.option == option
        assert len(str(caught.value)) < 400
    with pytest.raises(ValueError, match="Snooze takes a delay"):
        Snooze(10**5000)


HOUR = timedelta(hours=1)
TIMES = [
    datetime(9999, 12, 31, 23, tzinfo=timezone(-12 * HOUR)),
    datetime(9999, 12, 31, 23, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=timezone(12 * HOUR)),
    datetime.max.replace(tzinfo=UTC),
    datetime.min.replace(tzinfo=UTC),
]


async def test_a_time_at_the_edges_is_refused_by_its_instant_in_utc(
    app: Soniq, connection: "asyncpg.Connection[Any]"
) -> None:
    job = app.job(name="send")(send)
    for time in TIMES:
        for option in ("scheduled_at", "expires"):
            with pytest.raises(
                InvalidOption, match=f"^{option}=.* is not between 0001-01-03 and 9999-12-29 in UTC"
            ):
                await app.enqueue(job, **{option: time})
    for text in (
        "9999-12-31T23:00:00-12:00",
        "9999-12-31T23:00:00Z",
        "0000-01-01T00:00:00Z",
        "infinity",
        "-infinity",
    ):
        with pytest.raises(
            asyncpg.InvalidParameterValueError, match="scheduled_at takes a time with a zone"
        ):
            await connection.execute(
                f"select {app.settings.schema}.enqueue('send', '{{}}',"
                " jsonb_build_object('scheduled_at', $1::text))",
                text,
            )
    assert await app.jobs() == []


async def test_an_offset_with_seconds_is_the_instant_that_it_says(app: Soniq) -> None:
    job = app.job(name="send")(send)
    due = datetime(2090, 1, 1, 12, 0, 0, tzinfo=timezone(timedelta(minutes=9, seconds=21)))
    status = await app.get_job_status(await app.enqueue(job, scheduled_at=due, expires=due + HOUR))
    assert status is not None
    assert status["scheduled_at"] == due


def test_settings_that_cannot_be_are_errors_that_name_where_they_come_from() -> None:
    for url in (
        "postgresql://host:99999/db",
        "postgresql://host:0/db",
        f"postgresql://host:{'9' * 5000}/db",
    ):
        with pytest.raises(ConfigurationError, match="a port that is not a number from 1 to 65535"):
            load({"database_url": url}, {})
    with pytest.raises(ConfigurationError, match="SONIQ_SCHEMA is not valid UTF-8"):
        load({}, {"SONIQ_SCHEMA": "a\udcff"})
    with pytest.raises(ConfigurationError, match="lease="):
        load({"lease": 10**400}, {})
    with pytest.raises(ConfigurationError, match="concurrency="):
        load({"concurrency": 10**5000}, {})
    with pytest.raises(ConfigurationError, match="pool_size="):
        load({"pool_size": 10**5000}, {})
    with pytest.raises(ConfigurationError, match="SONIQ_POOL_SIZE '1000000000' cannot be used"):
        load({}, {"SONIQ_POOL_SIZE": "1000000000"})
    assert isinstance(load({}, {"SONIQ_SCHEMA": "a"}), Settings)


class Safe(str):
    """Text as templates make it."""

    __slots__ = ()


async def test_numbers_and_texts_of_libraries_are_taken_for_options(
    app: Soniq, connection: "asyncpg.Connection[asyncpg.Record]", schema: str
) -> None:
    job_id = await app.enqueue(
        app.job(name="send")(send),
        delay=numpy.float64(3600),
        timeout=numpy.float64(5),
        expires=numpy.float64(7200),
        keep_dead=numpy.float64(9),
        tags=[Safe("<b>"), numpy.str_("n")],
    )
    row = await connection.fetchrow(
        f"select scheduled_at - created_at as delay, timeout, keep_dead, tags from {schema}.job"
        " where id = $1",
        job_id.uuid,
    )
    assert row is not None
    assert timedelta(seconds=3599) < row["delay"] < timedelta(seconds=3601)
    assert (row["timeout"], row["keep_dead"], row["tags"]) == (5, 9, ["<b>", "n"])


async def test_a_type_that_contains_itself_is_an_error_that_names_the_job(app: Soniq) -> None:
    async def nested(value: "Any") -> None: ...

    alias: Any = list
    for _ in range(3_000):
        alias = list[alias]
    nested.__annotations__["value"] = alias
    app.job(name="nested")(nested)
    with pytest.raises(
        JobDefinitionError, match=r"nested: an annotation cannot be read: maximum recursion depth"
    ):
        await app.start()


async def test_a_function_without_a_name_or_a_signature_is_an_error_that_says_so(
    app: Soniq,
) -> None:
    app.job()(functools.partial(send, "a"))
    with pytest.raises(
        JobDefinitionError,
        match=r"two jobs are named .*functools\.partial.*give one of them a name=",
    ):
        app.job()(functools.partial(send, "b"))
    with pytest.raises(JobDefinitionError, match="the parameters of <class 'dict'> cannot be read"):
        app.job()(dict)


async def test_the_uuid_of_an_id_is_for_drivers(
    app: Soniq, connection: "asyncpg.Connection[Any]"
) -> None:
    job_id = await app.enqueue(app.job(name="send")(send))
    assert str(await connection.fetchval("select $1::uuid", job_id.uuid)) == job_id


# --- plugins -------------------------------------------------------------------------------------


class Audit:
    def __init__(self, level: int = 1) -> None:
        self.level = level

    def __repr__(self) -> str:
        return f"Audit({self.level})"


class Reads:
    name = "reads"

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        job.option(Audit)


async def test_an_option_that_nobody_can_read_is_refused_and_one_that_nobody_reads_is_warned_of(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(plugins=[Reads()])
    with pytest.raises(
        JobDefinitionError,
        match=r"send: the option Audit is a class; give a value of it: Audit\(...\)",
    ):
        app.job(Audit, name="send")(send)
    with pytest.raises(JobDefinitionError, match="send: two options are of the type Audit"):
        app.job(Audit(1), Audit(2), name="send")(send)
    app.job(Audit(1), name="send")(send)
    await app.start()
    assert "no plugin reads" not in caplog.text
    other = make_app()
    other.job(Audit(1), name="send")(send)
    await other.start()
    assert "no plugin reads the option Audit(1) of send: it has no effect" in caplog.text


async def test_the_plugin_that_an_option_seems_to_be_of_is_named(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deaf:
        name = "deaf"

        @hookimpl
        def started(self) -> None: ...

    async def told(option: object, *plugins: object) -> str:
        caplog.clear()
        app = make_app(plugins=plugins)
        app.job(option, name="send")(send)
        await app.start()
        await app.close()
        (line,) = [line for line in caplog.messages if "no plugin reads" in line]
        return line.partition(": it has no effect")[2]

    assert await told(Audit(1), Deaf()) == (
        "; the plugin 'deaf', which has it, does not ask for it"
    )
    monkeypatch.setattr(Audit, "__module__", "soniq_embedded.options")
    assert await told(Audit(1)) == (
        "; it is of the plugin 'embedded', which is not one of this app"
    )
    monkeypatch.setattr(Audit, "__module__", "soniq_embeded")
    assert await told(Audit(1)) == "; the plugin with the nearest name is 'embedded'"
    assert await told(object()) == ""


class Takes:
    """Changes which jobs a batch has."""

    name = "takes"

    def __init__(self, change: Any) -> None:
        self._change = change

    @hookimpl
    async def around_enqueue(self, batch: EnqueueBatch) -> AsyncIterator[None]:
        self._change(batch)
        yield


def empty(batch: EnqueueBatch) -> None:
    batch.jobs = []


def clear(batch: EnqueueBatch) -> None:
    batch.jobs.clear()  # type: ignore[attr-defined] # a Sequence, which is a list


def double(batch: EnqueueBatch) -> None:
    batch.jobs = [*batch.jobs, *batch.jobs]


@pytest.mark.parametrize("change", [empty, clear, double])
async def test_a_plugin_that_changes_which_jobs_are_enqueued_is_refused_by_name(
    make_app: MakeApp, change: Any
) -> None:
    app = make_app(plugins=[Takes(change)])
    job = app.job(name="send")(send)
    with pytest.raises(
        PluginError, match="around_enqueue of takes changed which jobs are enqueued"
    ) as caught:
        await app.enqueue(job)
    assert caught.value.plugin == "takes"
    with pytest.raises(PluginError, match="around_enqueue of takes"):
        await app.enqueue_many(job, [{}, {}])
    assert await app.jobs() == []


@pytest.mark.parametrize("name", ["", " ", "a\nb"])
async def test_a_plugin_without_a_name_in_one_line_is_refused(make_app: MakeApp, name: str) -> None:
    plugin = Reads()
    plugin.name = name
    with pytest.raises(PluginError, match=r"a plugin is named .*; a name must be text in one line"):
        await make_app(plugins=[plugin]).start()


async def test_a_choice_of_plugins_with_two_signs_is_an_error(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    for chosen in ("--x", "--otel", "-"):
        monkeypatch.setenv("SONIQ_PLUGINS", chosen)
        with pytest.raises(ConfigurationError, match=f"SONIQ_PLUGINS={chosen}: no plugin named"):
            await make_app(discover=True).start()


# --- text from outside ---------------------------------------------------------------------------


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.DEBUG, "soniq")
    return lambda: [record.getMessage() for record in caplog.records]


async def test_what_users_write_is_one_line_in_the_log(app: Soniq, lines: Any) -> None:
    forged = "x\nERROR soniq: all is lost\r\x1b[31m\u2028y"

    @app.job(name=f"cancel {forged}")
    async def cancel() -> None:
        raise Cancel(forged)

    @app.job(name=f"fail {forged}", max_attempts=2, retry=0)
    async def fail() -> None:
        raise ValueError(forged)

    for job in (cancel, fail):
        await app.enqueue(job)
    await app.run_worker(run_once=True)
    said = [line for line in lines() if "all is lost" in line]
    assert len(said) >= 3
    assert all(each.isprintable() for line in said for each in line)


async def test_long_texts_are_cut_where_they_are_stored_with_their_beginning_and_their_end(
    make_app: MakeApp,
) -> None:
    long = "begin" + "x" * 3_000_000 + "end"
    told: list[str | None] = []

    class Told:
        @hookimpl
        def settled(self, outcomes: Sequence[Outcome]) -> None:
            told.extend(each.reason for each in outcomes if each.status == "cancelled")

    app = make_app(plugins=[Told()])

    @app.job(name="fail", max_attempts=1)
    async def fail() -> None:
        raise ValueError(long)

    @app.job(name="cancel")
    async def cancel() -> None:
        raise Cancel(long)

    @app.job(name="progress", max_attempts=1)
    async def progress(ctx: JobContext) -> None:
        await ctx.progress(0.5, note=long)

    @app.job(name="umlauts", max_attempts=1)
    async def umlauts(ctx: JobContext) -> None:
        await ctx.progress(0.5, note="ä" * 6_000)

    ids = [await app.enqueue(job) for job in (fail, cancel)]
    waits = await app.enqueue(cancel, delay=60)
    await app.cancel(waits, long)
    too_much = {await app.enqueue(progress): "3,000,", await app.enqueue(umlauts): "12,0"}
    await app.run_worker(run_once=True)
    for job_id in [*ids, waits]:
        status = await app.get_job_status(job_id)
        assert status is not None
        assert status["error"] is not None
        message = status["error"]["message"]
        assert len(message) < 10_100
        assert message.startswith("beginxxx")
        assert message.endswith("xxxend")
        assert re.search(r"\n\.\.\. 2,990,\d\d\d characters are left out \.\.\.\n", message)
        assert len(status["error"]["traceback"] or "") < 20_100
    for job_id, size in too_much.items():
        status = await app.get_job_status(job_id)
        assert status is not None
        assert status["error"] is not None
        assert f"progress takes 10,000 bytes of JSON; got {size}" in status["error"]["message"]
    assert [len(reason or "") < 10_100 for reason in told] == [True, True]
    for signal in (Cancel(long), Snooze(60, long)):
        assert len(repr(signal)) < 10_200
