"""A database whose encoding holds fewer characters than Python's texts."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from soniq import JobContext, Soniq
from tests.conftest import MakeApp
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import eventually


@pytest.fixture
async def latin_url(database_url: str) -> AsyncIterator[str]:
    """The URL of a new database in LATIN1 on the same server, dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        f"create database {name} template template0 encoding 'LATIN1' locale_provider libc locale 'C'"
    )
    yield urlsplit(database_url)._replace(path=f"/{name}").geturl()
    await connection.execute(f"drop database {name} with (force)")
    await connection.close()


async def test_the_text_of_an_error_is_kept_with_escapes_for_what_the_database_cannot_hold(
    make_app: MakeApp, latin_url: str
) -> None:
    app: Soniq = make_app(database_url=latin_url)

    @app.job(name="fail", max_attempts=1)
    async def fail(text: str) -> None:
        raise ValueError(text)

    @app.job(name="fine")
    async def fine() -> None: ...

    async with working(app):
        texts = ["caf\u00e9", '5 \u20ac \u2192 \U0001f600 \\ "quoted"']
        ids = [await app.enqueue(fail, text=text) for text in texts]
        others = await app.enqueue_many(fine, [{}] * 5)
        found = [await finished(app, job_id) for job_id in ids]
        for job_id in others:
            assert (await finished(app, job_id))["status"] == "done"
    assert [status["status"] for status in found] == ["dead", "dead"]
    errors = [status["error"] for status in found]
    assert errors[0] is not None
    assert errors[1] is not None
    assert errors[0]["message"] == texts[0]
    assert errors[1]["message"] == '5 \\u20ac \\u2192 \\U0001f600 \\ "quoted"'
    assert errors[1]["type"] == "ValueError"


async def test_progress_that_the_database_cannot_hold_keeps_no_other_from_being_seen(
    make_app: MakeApp, latin_url: str
) -> None:
    app: Soniq = make_app(database_url=latin_url, lease=1)

    @app.job(name="report")
    async def report(ctx: JobContext, text: str) -> None:
        await ctx.progress(0.5, text=text)
        await asyncio.sleep(30)

    async with working(app):
        texts = ["\u65e5", "caf\u00e9", "plain"]
        ids = [await app.enqueue(report, text=text) for text in texts]

        async def all_are_seen() -> bool:
            return all([(await status_of(app, job_id))["progress"] for job_id in ids])

        await eventually(all_are_seen, 20)
        found = [(await status_of(app, job_id))["progress"] for job_id in ids]
        for job_id in ids:
            await app.cancel(job_id)
    assert [each and each["text"] for each in found] == ["\\u65e5", "caf\\xe9", "plain"]
