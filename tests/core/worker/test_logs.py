"""What a worker logs about jobs: a line for each that ends, and the same fields on every record
about one.
"""

import asyncio
import io
import logging
from typing import Any

import pytest

from soniq import Cancel, ConfigurationError, JobContext, Retry, Snooze, Soniq
from tests.conftest import MakeApp
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import eventually

FIELDS = ("job_id", "job_name", "queue", "attempt", "worker_id")


def about(caplog: pytest.LogCaptureFixture, job_id: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Level, message and fields of the records that have the job's id as a field."""
    return [
        (
            record.levelname,
            record.getMessage(),
            {field: getattr(record, field, None) for field in FIELDS},
        )
        for record in caplog.records
        if getattr(record, "job_id", None) == job_id
    ]


async def test_a_job_that_is_done_is_a_line_with_its_name_id_attempt_and_seconds(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()

    @app.job(name="greet", queue="mail")
    async def greet() -> None:
        await asyncio.sleep(0.01)

    job_id = await app.enqueue(greet)
    with caplog.at_level("INFO", "soniq"):
        await app.run_worker(run_once=True)
    ((level, text, fields),) = about(caplog, job_id)
    assert level == "INFO"
    assert text.startswith(f"job {job_id} (greet, attempt 1) done in 0.0")
    worker_id = (await status_of(app, job_id))["worker_id"]
    assert fields == {
        "job_id": job_id, "job_name": "greet", "queue": "mail", "attempt": 1,
        "worker_id": worker_id,
    }  # fmt: skip
    (seconds,) = (record.seconds for record in caplog.records if hasattr(record, "seconds"))
    assert 0.01 <= seconds < 5


@pytest.mark.parametrize(("jobs", "said"), [(1, "1 job known"), (2, "2 jobs known")])
async def test_the_first_line_of_a_worker_counts_its_jobs_in_words(
    app: Soniq, caplog: pytest.LogCaptureFixture, jobs: int, said: str
) -> None:
    caplog.set_level(logging.INFO, "soniq.worker")
    for number in range(jobs):
        app.job(name=f"job {number}")(_nothing)
    await app.run_worker(run_once=True)
    assert f" {said}," in caplog.text


async def _nothing() -> None: ...


async def test_a_setting_turns_the_lines_of_jobs_that_are_done_down_to_debug(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(log_jobs="debug")

    @app.job(name="greet")
    async def greet() -> None: ...

    first = await app.enqueue(greet)
    with caplog.at_level("INFO", "soniq"):
        await app.run_worker(run_once=True)
    assert about(caplog, first) == []
    second = await app.enqueue(greet)
    with caplog.at_level("DEBUG", "soniq"):
        await app.run_worker(run_once=True)
    assert [level for level, *_ in about(caplog, second)] == ["DEBUG"]


def test_a_level_that_is_none_is_refused(make_app: MakeApp) -> None:
    with pytest.raises(ConfigurationError, match="'loud' cannot be used: it is 'info' or"):
        _ = make_app(log_jobs="loud").settings


async def test_every_way_in_which_an_attempt_ends_is_logged_with_the_fields(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()

    @app.job(name="end", max_attempts=2)
    async def end(how: str, ctx: JobContext) -> None:
        ctx.logger.info("trying")
        ends = {
            "snooze": Snooze(3600),
            "retry": Retry(3600),
            "cancel": Cancel("not wanted"),
            "fail": ValueError("no"),
        }
        raise ends[how]

    ids = {how: await app.enqueue(end, how=how) for how in ("snooze", "retry", "cancel")}
    ids["fail"] = await app.enqueue(end, how="fail", max_attempts=1)
    ids["expired"] = await app.enqueue(end, how="fail", expires=0)
    with caplog.at_level("INFO", "soniq"):
        await app.run_worker(run_once=True)
    job = {how: f"job {id_} (end, attempt 1 of 2)" for how, id_ in ids.items()}
    expected = {
        "snooze": ("INFO", f"job {ids['snooze']} (end, attempt 1) is snoozed for 3600.0 s"),
        "retry": (
            "WARNING",
            f"{job['retry']} failed, and is retried in 3600.0 s: the handler asked for a retry",
        ),
        "cancel": ("INFO", f"{job['cancel']} was cancelled: not wanted"),
        "fail": (
            "ERROR",
            f"job {ids['fail']} (end, attempt 1 of 1) failed; it is dead: ValueError: no",
        ),
    }
    for how, (level, text) in expected.items():
        first, last = about(caplog, ids[how])
        assert first[:2] == ("INFO", f"end {ids[how]} attempt 1: trying")
        assert last[0] == level
        assert last[1].startswith(text)
        assert last[2] == first[2], "the handler's own record has the same fields"
        assert (last[2]["job_name"], last[2]["queue"], last[2]["attempt"]) == ("end", "default", 1)
        assert last[2]["worker_id"]
    ((level, text, fields),) = about(caplog, ids["expired"])
    assert (level, text) == (
        "INFO",
        f"job {ids['expired']} (end) was cancelled: expired before it started",
    )
    assert (fields["job_name"], fields["attempt"]) == ("end", 0)


async def test_an_error_in_a_hook_about_a_job_has_its_fields(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()

    @app.before_job
    async def broken(ctx: JobContext) -> None:
        raise RuntimeError("the hook")

    @app.job(name="greet")
    async def greet() -> None: ...

    job_id = await app.enqueue(greet)
    with caplog.at_level("ERROR", "soniq"):
        await app.run_worker(run_once=True)
    ((level, text, fields),) = about(caplog, job_id)
    assert (level, "before_job of application failed" in text) == ("ERROR", True)
    assert fields["job_name"] == "greet"


async def test_a_job_whose_worker_died_is_logged_with_the_fields(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, schema: str
) -> None:
    app = make_app(lease=1)

    @app.job(name="greet", max_attempts=1)
    async def greet() -> None: ...

    job_id = await app.enqueue(greet)
    gone = "11111111-1111-4111-8111-111111111111"
    async with app.connection() as connection:
        await connection.execute(
            f"update {schema}.job set status = 'running', started = true, worker_id = $1", gone
        )
        await connection.execute(
            f"insert into {schema}.worker (id, lease, concurrency, pid, hostname, version, names,"
            " seen_at) values ($1, 1, 1, 1, 'gone', '0', '{}', now() - interval '1 hour')",
            gone,
        )
    with caplog.at_level("INFO", "soniq"):
        async with working(app):
            await finished(app, job_id)

            async def told() -> bool:
                return bool(about(caplog, job_id))

            await eventually(told)
    ((level, text, fields),) = about(caplog, job_id)
    assert level == "ERROR"
    assert text == f"job {job_id} (greet, attempt 1 of 1) is dead: the lease of its worker expired"
    assert fields["worker_id"] == gone


class Raises(logging.Filter):
    """An application's filter, with a bug."""

    def filter(self, record: logging.LogRecord) -> bool:
        raise LookupError("a bug in the filter")


class RaisesInHandle(logging.Handler):
    """An application's handler, with a bug."""

    def handle(self, record: logging.LogRecord) -> bool:
        raise LookupError("a bug in the handler")


@pytest.mark.parametrize(
    ("what", "where"),
    [
        ("filter", "soniq.worker"),
        ("filter of a handler", "soniq.worker"),
        ("filter of a handler", "root"),
        ("handler", "root"),
    ],
)
async def test_a_filter_or_handler_that_raises_does_not_end_the_worker(
    make_app: MakeApp, capsys: pytest.CaptureFixture[str], what: str, where: str
) -> None:
    app = make_app()

    @app.job(name="greet")
    async def greet() -> None: ...

    logger = logging.getLogger(None if where == "root" else where)
    level = logger.level
    handler = RaisesInHandle() if what == "handler" else logging.StreamHandler(io.StringIO())
    broken = Raises()
    (logger if what == "filter" else handler).addFilter(broken)
    logger.addHandler(handler)
    logger.setLevel("INFO")
    try:
        ids = [await app.enqueue(greet) for _ in range(3)]
        await app.run_worker(run_once=True)
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        logger.removeFilter(broken)
    assert [(await status_of(app, job_id))["status"] for job_id in ids] == ["done"] * 3
    assert "a bug in the" in capsys.readouterr().err
