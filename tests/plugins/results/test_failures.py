"""What goes wrong with a store is a clear error of its own kind, and never a lost result."""

import asyncio
import logging
from typing import Any

import pytest

from soniq import Job, Soniq, SoniqError
from soniq_results import ResultDamaged, ResultMissing, ResultsError, StoreUnavailable
from tests.plugins.results.places import S3, SECRET, Folder, Place
from tests.plugins.results.support import LIMIT, AppWith, Run, Uploads

WHAT_IT_RETURNS = "result " * 100


def text_job(app: Soniq) -> Job[..., Any]:
    @app.job(name="text", retry=0)
    async def text() -> str:
        return WHAT_IT_RETURNS

    return text


async def failure(app: Soniq, job_id: str) -> ResultsError:
    """The error of reading a result, which must name the job and the object and hide the
    credentials.
    """
    with pytest.raises(ResultsError) as caught:
        await app.get_result(job_id)
    error = caught.value
    assert isinstance(error, SoniqError)
    assert error.job_id == job_id
    assert error.key is not None
    assert job_id in str(error)
    assert error.key in str(error)
    assert SECRET not in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    return error


class TestReading:
    async def test_an_object_that_was_changed_is_damaged(
        self, store: Place, app_with: AppWith, run: Run
    ) -> None:
        app = app_with(store)
        status = await run(app, text_job(app))
        [name] = store.names()
        store.write(name, b'"' + b"another" * 100 + b'"')
        error = await failure(app, status["job_id"])
        assert type(error) is ResultDamaged
        assert "702 bytes" in str(error)

    async def test_an_object_that_was_cut_is_damaged(
        self, store: Place, app_with: AppWith, run: Run
    ) -> None:
        app = app_with(store)
        status = await run(app, text_job(app))
        [name] = store.names()
        store.write(name, b"")
        assert type(await failure(app, status["job_id"])) is ResultDamaged

    async def test_an_object_that_was_removed_is_missing(
        self, store: Place, app_with: AppWith, run: Run
    ) -> None:
        app = app_with(store)
        status = await run(app, text_job(app))
        [name] = store.names()
        store.remove(name)
        error = await failure(app, status["job_id"])
        assert type(error) is ResultMissing
        assert "set SONIQ_RESULTS_URL to where it is" in str(error)

    async def test_a_store_that_is_down_is_unavailable_and_works_again_when_it_is_back(
        self, store: Place, app_with: AppWith, run: Run
    ) -> None:
        app = app_with(store)
        status = await run(app, text_job(app))
        store.stop()
        try:
            assert type(await failure(app, status["job_id"])) is StoreUnavailable
        finally:
            store.start()
        assert await app.get_result(status["job_id"]) == WHAT_IT_RETURNS

    async def test_a_bucket_that_does_not_exist_is_no_missing_object(
        self, s3: S3, app_with: AppWith, run: Run
    ) -> None:
        app, elsewhere = app_with(s3), app_with("s3://no-such-bucket/some/prefix")
        status = await run(app, text_job(app))
        error = await failure(elsewhere, status["job_id"])
        assert type(error) is StoreUnavailable
        assert "the folder, bucket or container itself does not exist" in str(error)

    async def test_a_folder_that_is_not_there_is_no_missing_object(
        self, folder: Folder, app_with: AppWith, run: Run
    ) -> None:
        app = app_with(folder)
        status = await run(app, text_job(app))
        folder.path.rename(folder.path.with_name("elsewhere"))
        assert type(await failure(app, status["job_id"])) is StoreUnavailable

    async def test_a_reference_of_another_version_says_so(
        self, folder: Folder, app_with: AppWith, run: Run, connection: Any, schema: str
    ) -> None:
        app = app_with(folder)
        status = await run(app, text_job(app))
        await connection.execute(f"update {schema}.history set result = $1", b'{"v":2,"key":"a"}')
        with pytest.raises(ResultsError, match="Is soniq-results too old here"):
            await app.get_result(status["job_id"])


class TestStoring:
    async def test_a_store_that_is_down_fails_the_attempt_and_the_next_one_stores_the_result(
        self, store: Place, app_with: AppWith, run: Run, uploads: Uploads
    ) -> None:
        app = app_with(store)
        errors: list[BaseException] = []

        @app.on_error
        def back_again(ctx: object, error: BaseException) -> None:
            errors.append(error)
            store.start()

        await app.start()
        store.stop()
        status = await run(app, text_job(app))
        assert (status["status"], status["attempt"]) == ("done", 2)
        assert await app.get_result(status["job_id"]) == WHAT_IT_RETURNS
        [error] = errors
        assert isinstance(error, StoreUnavailable)
        assert error.job_id == status["job_id"]
        assert SECRET not in str(error)
        assert [each.key for each in await uploads.all()] == [
            error.key
        ]  # written down before it was tried

    async def test_one_that_stays_down_ends_in_a_dead_job_whose_error_says_so(
        self, s3: S3, app_with: AppWith, run: Run, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = app_with("s3://no-such-bucket", max_attempts=2)
        status = await run(app, text_job(app))
        assert (status["status"], status["attempt"]) == ("dead", 2)
        assert status["error"] is not None
        assert status["error"]["type"] == "soniq_results.errors.StoreUnavailable"
        assert "cannot store the result of job" in status["error"]["message"]
        assert SECRET not in f"{status['error']}{caplog.text}"

    async def test_one_that_does_not_answer_in_time_fails_the_attempt(
        self, app_with: AppWith, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(never, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for name, value in {
            "ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "ALLOW_HTTP": "true",
            "REGION": "us-east-1",
            "ACCESS_KEY_ID": "tests",
            "SECRET_ACCESS_KEY": SECRET,
        }.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        app = app_with("s3://bucket", timeout=0.3, max_attempts=1)
        async with asyncio.timeout(LIMIT):
            status = await run(app, text_job(app))
        server.close()
        assert status["error"] is not None
        assert "no answer within 0.3 s" in status["error"]["message"]


class TestRemoving:
    async def test_while_the_store_is_down_a_pruned_job_stays(
        self, store: Place, app_with: AppWith, run: Run
    ) -> None:
        app = app_with(store)
        status = await run(app, text_job(app))
        store.stop()
        try:
            with pytest.raises(StoreUnavailable, match="cannot remove results"):
                await app.prune(older_than=0)
        finally:
            store.start()
        assert await app.get_result(status["job_id"]) == WHAT_IT_RETURNS
        assert await app.prune(older_than=0) == 1
        assert store.names() == set()


@pytest.mark.parametrize("place", ["redis", "s3"])
async def test_credentials_appear_nowhere(
    place: str,
    request: pytest.FixtureRequest,
    app_with: AppWith,
    run: Run,
    uploads: Uploads,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    store: Place = request.getfixturevalue(place)
    app = app_with(store, max_attempts=1)
    [plugin] = app._plugins
    await run(app, text_job(app))
    store.stop()
    try:
        status = await run(app, app.registry["text"])
    finally:
        store.start()
    assert status["status"] == "dead"
    shown = (
        repr(plugin)
        + caplog.text
        + str(status)
        + "".join(capfd.readouterr())
        + repr(await uploads.all())
    )
    assert "127.0.0.1" in shown
    assert SECRET not in shown


async def test_a_token_in_the_urls_of_requests_is_not_shown(
    app_with: AppWith, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Azure's shared access signature is a part of each request's URL."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_SAS_KEY", f"sv=2024-01-01&sig={SECRET}")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("AZURE_ALLOW_HTTP", "true")
    app = app_with("az://container/prefix", max_attempts=1)
    status = await run(app, text_job(app))
    assert status["error"] is not None
    assert "error sending request. Look whether the store is up" in status["error"]["message"]
    assert SECRET not in f"{status['error']}{caplog.text}"
