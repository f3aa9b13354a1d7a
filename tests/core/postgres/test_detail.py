"""All that is kept of one job, however large its values are."""

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from soniq import InvalidJobId, InvalidOption, JobDetail, Soniq
from soniq.status import JobStatus
from tests.conftest import MakeApp

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


async def detail(app: Soniq, job_id: str, **options: Any) -> JobDetail:
    """What is kept of a job that exists."""
    found = await app.get_job(job_id, **options)
    assert found is not None
    return found


async def test_it_tells_all_of_a_job_that_waits(app: Soniq) -> None:
    @app.job(name="job", keep=60, keep_dead=120)
    async def job(number: int) -> int:
        return number

    expires = datetime.now(UTC) + timedelta(hours=1)
    job_id = await app.enqueue(
        job,
        number=7,
        headers={"trace": "é"},
        dedup_key="key",
        expires=expires,
        tags=["a"],
        timeout=5,
    )
    found = await detail(app, job_id)
    assert set(found) == JobDetail.__required_keys__
    status = await app.get_job_status(job_id)
    assert status == {key: found[key] for key in JobStatus.__required_keys__}  # type: ignore[literal-required]
    assert found["args"] == {"number": 7}
    assert (found["args_size"], found["result_size"]) == (len(b'{"number":7}'), None)
    assert (found["headers"], found["headers_size"]) == ({"trace": "é"}, len('{"trace": "é"}') + 1)
    assert (found["dedup_label"], found["serializer"], found["timeout"]) == ("key", "json", 5)
    assert (found["keep"], found["keep_dead"], found["forget_at"]) == (60, 120, None)
    assert found["expires_at"] is not None
    assert abs(found["expires_at"] - expires) < timedelta(seconds=1)
    assert not found["cancel_requested"]


async def test_it_tells_all_of_a_job_that_is_finished(app: Soniq) -> None:
    @app.job(name="job", keep=3_600)
    async def job() -> list[int]:
        return [1, 2]

    @app.job(name="fail", max_attempts=1)
    async def fail() -> None:
        raise ValueError("no address")

    job_id, failed = await app.enqueue(job), await app.enqueue(fail)
    await app.run_worker(run_once=True)
    found = await detail(app, job_id)
    assert (found["status"], found["result"], found["result_size"]) == ("done", [1, 2], 5)
    assert found["result_store"] == "row"
    assert found["finished_at"] is not None
    assert found["forget_at"] is not None
    assert found["forget_at"] - found["finished_at"] == timedelta(hours=1)
    found = await detail(app, failed)
    assert (found["status"], found["result"], found["forget_at"]) == ("dead", None, None)
    assert found["error"] is not None
    assert found["error"]["message"] == "no address"
    status = await app.get_job_status(failed)
    assert status == {key: found[key] for key in JobStatus.__required_keys__}  # type: ignore[literal-required]
    assert [attempt["type"] for attempt in found["attempts"]] == ["ValueError"]


async def test_what_is_larger_than_asked_for_is_told_by_its_size(app: Soniq) -> None:
    @app.job(name="job")
    async def job(text: str) -> str:
        return text

    job_id = await app.enqueue(job, text="x" * 1_000)
    await app.run_worker(run_once=True)
    found = await detail(app, job_id)
    assert (found["args"], found["result"]) == ({"text": "x" * 1_000}, "x" * 1_000)
    found = await detail(app, job_id, largest=1_001)
    assert (found["args"], found["result"]) == (None, None)
    assert (found["args_size"], found["result_size"]) == (1_011, 1_002)
    found = await detail(app, job_id, largest=1_002)
    assert (found["args"], found["result"]) == (None, "x" * 1_000)


async def test_nothing_of_a_result_of_a_hundred_megabytes_is_read(
    app: Soniq, connection: "Connection", schema: str
) -> None:
    @app.job(name="job")
    async def job() -> None: ...

    job_id = await app.enqueue(job)
    await app.run_worker(run_once=True)
    partition = await connection.fetchval(f"select tableoid::regclass::text from {schema}.history")
    await connection.execute(f"alter table {partition} alter result set storage external")
    await connection.execute(
        f"update {partition} set result_store = 'row',"
        " result = convert_to(repeat('x', 100000000), 'UTF8')"
    )
    statement = app._database.sql["detail"]
    plan = await connection.fetchval(
        f"explain (analyze, buffers, format json) {statement}", job_id.uuid, 100_000
    )
    buffers = _buffers(plan)
    assert 0 < buffers < 6_000  # the value alone is 12,000 pages; the catalog may have grown, too
    found = await detail(app, job_id)
    assert (found["result"], found["result_size"]) == (None, 100_000_000)


def _buffers(plan: str) -> int:
    (top,) = json.loads(plan)
    return int(top["Plan"]["Shared Hit Blocks"]) + int(top["Plan"]["Shared Read Blocks"])


async def test_what_cannot_be_read_here_is_left_out(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    app = make_app()

    @app.job(name="job")
    async def job(number: int) -> None: ...

    job_id = await app.enqueue(job, number=1)
    await connection.execute(f"update {schema}.job set serializer = 'other'")
    found = await detail(app, job_id)
    assert (found["args"], found["serializer"], found["args_size"] > 0) == (None, "other", True)


async def test_a_job_that_is_to_be_cancelled_says_so(
    app: Soniq, connection: "Connection", schema: str
) -> None:
    @app.job(name="job")
    async def job() -> None: ...

    job_id = await app.enqueue(job)
    await connection.execute(f"update {schema}.job set cancel_requested = true")
    assert (await detail(app, job_id))["cancel_requested"]


async def test_one_that_is_not_there_is_none_and_a_wrong_question_an_error(app: Soniq) -> None:
    assert await app.get_job("01a20fbd-4909-7055-a4fb-30857a01e667") is None
    with pytest.raises(InvalidJobId):
        await app.get_job("7")
    with pytest.raises(InvalidOption):
        await app.get_job("01a20fbd-4909-7055-a4fb-30857a01e667", largest=-1)
