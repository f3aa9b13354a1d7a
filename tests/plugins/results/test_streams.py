"""Streamed results: stored and read in pieces, checked at the end, and never held in memory as a
whole.
"""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from soniq import JobContext
from soniq_results import ResultDamaged, ResultMissing
from tests.plugins.results.places import Folder, Place
from tests.plugins.results.support import AppWith, Run

MEGABYTE = 1_048_576


async def collected(stream: AsyncIterator[bytes] | None) -> list[bytes]:
    assert stream is not None
    return [piece async for piece in stream]


@pytest.mark.parametrize(
    ("sizes", "objects"),
    [
        ([100_000], 1),
        ([8 * MEGABYTE], 1),
        ([8 * MEGABYTE + 1], 2),
        ([5 * MEGABYTE, 5 * MEGABYTE, 0, 6 * MEGABYTE], 2),
        ([20 * MEGABYTE, 1], 3),
    ],
)
async def test_what_is_read_is_what_was_given_however_it_was_cut(
    folder: Folder, app_with: AppWith, run: Run, sizes: list[int], objects: int
) -> None:
    app = app_with(folder)

    @app.job
    async def stream() -> AsyncIterator[bytes]:
        for number, size in enumerate(sizes):
            yield bytes([number]) * size

    status = await run(app, stream)
    expected = b"".join(bytes([number]) * size for number, size in enumerate(sizes))
    assert len(folder.names()) == objects
    assert await app.get_result(status["job_id"]) == expected
    pieces = await collected(await app.get_result(status["job_id"], stream=True))
    assert b"".join(pieces) == expected
    assert max(map(len, pieces)) <= 8 * MEGABYTE


async def test_each_store_takes_a_stream_and_gives_it_back(
    store: Place, app_with: AppWith, run: Run
) -> None:
    app = app_with(store)

    @app.job
    async def stream() -> AsyncIterator[bytes]:
        for number in range(20):
            yield bytes([number]) * MEGABYTE

    status = await run(app, stream)
    assert len(store.names()) == 3
    pieces = await collected(await app.get_result(status["job_id"], stream=True))
    assert b"".join(pieces) == b"".join(bytes([number]) * MEGABYTE for number in range(20))


async def test_a_path_is_stored_as_the_content_of_its_file(
    folder: Folder, app_with: AppWith, run: Run, tmp_path: Path
) -> None:
    app = app_with(folder)
    file = tmp_path / "report.csv"
    file.write_bytes(b"a;b\n" * 3_000_000)

    @app.job
    async def report() -> Path:
        return file

    status = await run(app, report)
    assert len(folder.names()) == 2
    assert await app.get_result(status["job_id"]) == b"a;b\n" * 3_000_000


async def test_a_small_one_stays_in_the_row(folder: Folder, app_with: AppWith, run: Run) -> None:
    app = app_with(folder, threshold=1_000)

    @app.job
    async def stream() -> AsyncIterator[bytes]:
        yield b"few"

    status = await run(app, stream)
    assert await app.get_result(status["job_id"]) == b"few"
    assert not folder.names()


async def test_an_empty_one_may_go_to_the_store(store: Place, app_with: AppWith, run: Run) -> None:
    app = app_with(store)

    @app.job
    async def stream() -> AsyncIterator[bytes]:
        for chunk in list[bytes]():
            yield chunk

    status = await run(app, stream)
    assert len(store.names()) == 1
    assert await app.get_result(status["job_id"]) == b""


async def test_an_error_of_the_handler_in_the_middle_fails_the_attempt(
    folder: Folder, app_with: AppWith, run: Run
) -> None:
    app = app_with(folder)

    @app.job(retry=0)
    async def stream(ctx: JobContext) -> AsyncIterator[bytes]:
        yield b"x" * 9 * MEGABYTE
        if ctx.attempt == 1:
            raise LookupError("half way")

    status = await run(app, stream)
    assert (status["status"], status["attempt"]) == ("done", 2)
    assert await app.get_result(status["job_id"]) == b"x" * 9 * MEGABYTE


async def test_a_changed_object_is_found_at_the_end_and_a_removed_one_when_its_turn_comes(
    store: Place, app_with: AppWith, run: Run
) -> None:
    app = app_with(store)

    @app.job
    async def stream() -> AsyncIterator[bytes]:
        yield b"x" * 9 * MEGABYTE

    status = await run(app, stream)
    _, last = sorted(store.names())
    store.write(last, b"y" * MEGABYTE)
    with pytest.raises(ResultDamaged):
        await collected(await app.get_result(status["job_id"], stream=True))
    store.remove(last)
    stream_ = await app.get_result(status["job_id"], stream=True)
    assert stream_ is not None
    assert len(await anext(stream_)) == 8 * MEGABYTE
    with pytest.raises(ResultMissing):
        await anext(stream_)


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc"
)
def test_memory_stays_the_same_whatever_the_size(
    folder: Folder, database_url: str, schema: str
) -> None:
    command = (
        sys.executable,
        "-m",
        "tests.benchmarks.large_result",
        "--megabytes",
        "192",
        "--json",
    )
    where = ("--database", database_url, "--schema", schema, "--store", folder.url)
    done = subprocess.run(
        (*command, *where),
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        timeout=120,
        check=True,
    )
    figures = json.loads(done.stdout)
    assert figures["size"] == 192 * MEGABYTE
    assert figures["worker"]["growth"] < 96 * MEGABYTE
    assert figures["reader"]["growth"] < 96 * MEGABYTE
