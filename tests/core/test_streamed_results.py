"""Results that are streamed: an async iterator of bytes, or a file, kept in the row if it fits, or
in a store.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from soniq import JobContext, Soniq, hookimpl
from soniq.errors import JobDefinitionError
from soniq.plugin import ResultStore
from tests.conftest import MakeApp

MIB = 1_048_576


class Shelf:
    """A store outside the row that takes streams, piece by piece, and nothing else."""

    name = "shelf"

    def __init__(self) -> None:
        self.pieces: dict[bytes, list[bytes]] = {}
        self.deleted: list[bytes] = []

    async def put(self, ctx: JobContext, data: bytes) -> bytes | None:
        return None

    async def put_stream(self, ctx: JobContext, chunks: AsyncIterator[bytes]) -> bytes | None:
        self.pieces[ctx.job_id.encode()] = [chunk async for chunk in chunks]
        return ctx.job_id.encode()

    async def get(self, reference: bytes) -> bytes:
        return b"".join(self.pieces[reference])

    async def get_stream(self, reference: bytes) -> AsyncIterator[bytes]:
        for piece in self.pieces[reference]:
            yield piece

    async def delete(self, references: Sequence[bytes]) -> None:
        self.deleted += references


class ShelfPlugin:
    """Offers the shelf."""

    name = "shelf"

    def __init__(self) -> None:
        self.shelf = Shelf()

    @hookimpl
    def result_stores(self) -> list[ResultStore]:
        return [self.shelf]


@pytest.fixture
def plugin() -> ShelfPlugin:
    """The plugin with a store for streams."""
    return ShelfPlugin()


@pytest.fixture
def shelved(make_app: MakeApp, plugin: ShelfPlugin) -> Soniq:
    """An app with that store."""
    return make_app(plugins=[plugin])


async def collected(stream: AsyncIterator[bytes] | None) -> list[bytes]:
    """The pieces of a stream."""
    assert stream is not None
    return [piece async for piece in stream]


async def run(app: Soniq, job: Any, **arguments: Any) -> str:
    """Enqueue a job and work off what is due."""
    job_id = await app.enqueue(job, **arguments)
    await app.run_worker(run_once=True)
    return job_id


async def pieces(count: int, size: int = MIB) -> AsyncIterator[bytes]:
    """So many pieces of so many bytes."""
    for number in range(count):
        yield bytes([number]) * size


async def test_a_small_one_is_kept_in_the_row(app: Soniq) -> None:
    @app.job()
    async def export() -> AsyncIterator[bytes]:
        yield b"one,"
        yield b"two"

    job_id = await run(app, export)
    assert await app.get_result(job_id) == b"one,two"
    assert await collected(await app.get_result(job_id, stream=True)) == [b"one,two"]
    assert await app.wait_for(job_id) == b"one,two"


async def test_a_handler_may_return_an_iterator(app: Soniq) -> None:
    @app.job()
    async def export() -> AsyncIterator[bytes]:
        return pieces(2, 3)

    assert await app.get_result(await run(app, export)) == b"\0\0\0\1\1\1"


@pytest.mark.parametrize("threaded", [False, True])
async def test_a_path_is_the_content_of_the_file(
    app: Soniq, tmp_path: Path, threaded: bool
) -> None:
    file = tmp_path / "report"
    file.write_bytes(b"content")

    async def here() -> Path:
        return file

    def in_a_thread() -> Path:
        return file

    job = app.job(name="report")(in_a_thread if threaded else here)
    assert await app.get_result(await run(app, job)) == b"content"
    assert file.exists()


async def test_one_without_annotation_is_streamed_as_well(app: Soniq) -> None:
    @app.job()
    async def export():  # type: ignore[no-untyped-def] # that is the point
        yield b"bytes"

    assert await app.get_result(await run(app, export)) == b"bytes"


async def test_a_large_one_goes_to_the_store_piece_by_piece(
    shelved: Soniq, plugin: ShelfPlugin
) -> None:
    @shelved.job()
    async def export() -> AsyncIterator[bytes]:
        return pieces(5)

    job_id = await run(shelved, export)
    assert [len(piece) for piece in plugin.shelf.pieces[job_id.encode()]] == [MIB] * 5
    stream = await shelved.get_result(job_id, stream=True)
    assert [piece[:1] for piece in await collected(stream)] == [b"\0", b"\1", b"\2", b"\3", b"\4"]
    assert len(await shelved.get_result(job_id)) == 5 * MIB


async def test_a_small_one_is_offered_to_the_stores_like_any_other(
    shelved: Soniq, plugin: ShelfPlugin
) -> None:
    @shelved.job()
    async def export() -> AsyncIterator[bytes]:
        yield b"small"

    assert await shelved.get_result(await run(shelved, export)) == b"small"
    assert plugin.shelf.pieces == {}


async def test_one_that_no_store_takes_and_that_does_not_fit_in_the_row_fails_the_attempt(
    app: Soniq,
) -> None:
    @app.job(max_attempts=1)
    async def export() -> AsyncIterator[bytes]:
        return pieces(5)

    status = await app.get_job_status(await run(app, export))
    assert status is not None
    assert status["status"] == "dead"
    assert status["error"] is not None
    assert status["error"]["type"] == "soniq.errors.PayloadTooLarge"


async def test_pruning_deletes_it(shelved: Soniq, plugin: ShelfPlugin) -> None:
    @shelved.job(keep=0)
    async def export() -> AsyncIterator[bytes]:
        return pieces(1)

    job_id = await run(shelved, export)
    assert await shelved.prune() == 1
    assert plugin.shelf.deleted == [job_id.encode()]


async def test_an_error_in_the_middle_fails_the_attempt_and_the_iterator_is_closed(
    shelved: Soniq,
) -> None:
    closed = asyncio.Event()

    @shelved.job(max_attempts=1)
    async def export() -> AsyncIterator[bytes]:
        try:
            yield bytes(MIB)
            raise ValueError("the source broke")
        finally:
            closed.set()

    job_id = await run(shelved, export)
    status = await shelved.get_job_status(job_id)
    assert status is not None
    assert (status["status"], status["error"] and status["error"]["message"]) == (
        "dead",
        "the source broke",
    )
    assert closed.is_set()
    assert await shelved.get_result(job_id, stream=True) is None


async def test_a_timeout_ends_it_in_the_middle(shelved: Soniq) -> None:
    closed = asyncio.Event()

    @shelved.job(max_attempts=1, timeout=0.2)
    async def export() -> AsyncIterator[bytes]:
        try:
            yield bytes(MIB)
            await asyncio.Event().wait()
        finally:
            closed.set()

    status = await shelved.get_job_status(await run(shelved, export))
    assert status is not None
    assert status["error"] is not None
    assert status["error"]["type"] == "soniq.errors.AttemptTimeout"
    assert closed.is_set()


async def test_what_is_no_bytes_fails_the_attempt(app: Soniq) -> None:
    @app.job(max_attempts=1)
    async def export():  # type: ignore[no-untyped-def] # annotated, it would be refused at the start
        yield "text"

    status = await app.get_job_status(await run(app, export))
    assert status is not None
    assert status["error"] is not None
    assert "a streamed result is made of bytes; got str" in status["error"]["message"]


async def test_a_file_that_is_not_there_fails_the_attempt(app: Soniq, tmp_path: Path) -> None:
    @app.job(max_attempts=1)
    async def report() -> Path:
        return tmp_path / "missing"

    status = await app.get_job_status(await run(app, report))
    assert status is not None
    assert status["error"] is not None
    assert status["error"]["type"] == "FileNotFoundError"


async def test_an_iterator_of_anything_but_bytes_is_refused_at_the_start(app: Soniq) -> None:
    @app.job(name="numbers")
    async def numbers() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(JobDefinitionError, match="numbers: a streamed result is made of bytes"):
        await app.start()


async def test_a_result_that_is_no_stream_can_be_read_as_its_stored_bytes(app: Soniq) -> None:
    @app.job()
    async def add(a: int, b: int) -> int:
        return a + b

    assert await collected(await app.get_result(await run(app, add, a=2, b=3), stream=True)) == [
        b"5"
    ]
