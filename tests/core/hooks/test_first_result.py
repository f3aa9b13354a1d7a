"""dedup_key, retry_delay and database_url: the nearest is asked first, and the first result
wins.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from soniq import (
    Backoff,
    Cancel,
    ConfigurationError,
    InvalidOption,
    Job,
    JobContext,
    JobStatus,
    Retry,
    Soniq,
    SoniqError,
)
from soniq.errors import PluginError
from soniq.plugin import NO_DEDUP, Dedup, NewJob
from tests.core.hooks.support import MakeApp, MakePlugin, Run


class TestDedupKey:
    """Asked for each job whose enqueue names no dedup_key=."""

    @pytest.fixture
    def with_key(
        self, make_app: MakeApp, make_plugin: MakePlugin
    ) -> Callable[[object], tuple[Soniq, Job[..., Any]]]:
        """An app with a job whose key a plugin says."""

        def with_key(answer: object) -> tuple[Soniq, Job[..., Any]]:
            def dedup_key(job: NewJob) -> object:
                return answer(job) if callable(answer) else answer

            app = make_app(plugins=[make_plugin("keys", dedup_key=dedup_key)])

            @app.job(name="job", unique=True)
            async def handler(a: int) -> None: ...

            return app, handler

        return with_key

    async def test_a_string_is_the_key(self, with_key: Any) -> None:
        app, job = with_key("the key")
        first = await app.enqueue(job, a=1)
        assert await app.enqueue(job, a=2) == first

    async def test_it_may_be_made_of_the_jobs_arguments(self, with_key: Any) -> None:
        app, job = with_key(lambda job: f"{job.name} {job.args['a'] % 2}")
        ids = [await app.enqueue(job, a=number) for number in range(4)]
        assert ids[0] == ids[2] != ids[1] == ids[3]

    async def test_async_def_will_do(self, make_app: MakeApp, make_plugin: MakePlugin) -> None:
        async def dedup_key() -> str:
            await asyncio.sleep(0)
            return "the key"

        app = make_app(plugins=[make_plugin("keys", dedup_key=dedup_key)])

        @app.job()
        async def handler(a: int) -> None: ...

        assert await app.enqueue(handler, a=1) == await app.enqueue(handler, a=2)

    async def test_a_dedup_says_what_a_duplicate_does(
        self, with_key: Any, connection: "asyncpg.Connection[asyncpg.Record]"
    ) -> None:
        app, job = with_key(Dedup("the key", scope="queued", on_conflict="replace"))
        first = await app.enqueue(job, a=1)
        second = await app.enqueue(job, a=2)
        assert second == first
        assert not second.inserted
        assert await app.get_args(first) == {"a": 2}

    async def test_no_dedup_ends_the_asking(self, with_key: Any) -> None:
        app, job = with_key(NO_DEDUP)
        assert await app.enqueue(job, a=1) != await app.enqueue(job, a=1)

    async def test_none_asks_the_next_down_to_the_cores_own(self, with_key: Any) -> None:
        app, job = with_key(None)
        assert (
            await app.enqueue(job, a=1)
            == await app.enqueue(job, a=1)
            != await app.enqueue(job, a=2)
        )

    async def test_that_of_the_call_takes_precedence_and_none_is_asked(self, with_key: Any) -> None:
        def refuses(job: NewJob) -> None:
            raise AssertionError("asked")

        app, job = with_key(refuses)
        first = await app.enqueue(job, a=1, dedup_key="of the call")
        assert await app.enqueue(job, a=2, dedup_key="of the call") == first

    async def test_it_is_asked_for_each_job_of_a_bulk_call(self, with_key: Any) -> None:
        app, job = with_key(lambda job: str(job.args["a"] % 2))
        ids = await app.enqueue_many(job, [{"a": number} for number in range(4)])
        assert ids[0] == ids[2] != ids[1] == ids[3]

    @pytest.mark.parametrize(
        ("answer", "error"),
        [(lambda job: 1 / 0, ZeroDivisionError), (17, PluginError), ("", InvalidOption)],
    )
    async def test_an_error_and_a_wrong_answer_go_to_the_caller_and_nothing_is_enqueued(
        self, with_key: Any, answer: object, error: type[Exception]
    ) -> None:
        app, job = with_key(answer)
        with pytest.raises(error):
            await app.enqueue(job, a=1)
        with pytest.raises(error):
            await app.enqueue_many(job, [{"a": 1}, {"a": 2}])
        assert await app.jobs() == []


class TestRetryDelay:
    """Asked after a failed attempt with attempts left, where the job has no retry= of its own."""

    @pytest.fixture
    def failing(self, make_app: MakeApp, make_plugin: MakePlugin, run: Run) -> Any:
        """Runs a job that fails, where plugins answer so, the nearest first; how it stands then."""

        async def failing(*answers: object, **options: Any) -> JobStatus:
            def answering(answer: object) -> Callable[..., object]:
                def retry_delay(ctx: JobContext, error: BaseException) -> object:
                    assert isinstance(error, ValueError)
                    if isinstance(answer, Exception) and not isinstance(answer, Retry | Cancel):
                        raise answer
                    return answer

                return retry_delay

            plugins = [
                make_plugin(f"answer-{n}", retry_delay=answering(each))
                for n, each in enumerate(answers)
            ]
            app = make_app(plugins=plugins)

            @app.job(**options)
            async def handler() -> None:
                raise ValueError

            return await run(app, handler)

        return failing

    @staticmethod
    def delay(status: JobStatus) -> float:
        assert status["status"] == "queued"
        return (status["scheduled_at"] - status["created_at"]).total_seconds()

    @pytest.mark.parametrize("answer", [1000, 1000.0, Retry(1000)])
    async def test_seconds_and_a_retry_say_when(self, failing: Any, answer: object) -> None:
        assert 999 < self.delay(await failing(answer, 2000)) < 1100

    async def test_a_cancel_ends_the_job(self, failing: Any) -> None:
        status = await failing(Cancel("hopeless"), 2000)
        assert status["status"] == "cancelled"
        assert status["error"]["message"] == "hopeless"

    @pytest.mark.parametrize("answer", [None, Retry()])
    async def test_none_asks_the_next(self, failing: Any, answer: object) -> None:
        assert 999 < self.delay(await failing(answer, 1000)) < 1100

    async def test_an_error_is_logged_and_the_next_is_asked(
        self, failing: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert 999 < self.delay(await failing(KeyError("boom"), 1000)) < 1100
        assert "retry_delay of answer-0 failed" in caplog.text
        assert "boom" in caplog.text

    @pytest.mark.parametrize("answer", [-1, "soon", float("nan")])
    async def test_a_wrong_answer_is_logged_and_the_next_is_asked(
        self, failing: Any, answer: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert 999 < self.delay(await failing(answer, 1000)) < 1100
        assert "retry_delay of answer-0 failed" in caplog.text

    async def test_without_an_answer_the_default_is_about_a_second(self, failing: Any) -> None:
        assert 0.5 < self.delay(await failing(None)) < 20

    @pytest.mark.parametrize(
        "own",
        [
            1000,
            Backoff(first=1000, jitter=0),
            lambda ctx, error: 1000,
            lambda ctx, error: Retry(1000),
        ],
    )
    async def test_the_jobs_own_retry_takes_precedence(self, failing: Any, own: object) -> None:
        assert 999 < self.delay(await failing(2000, retry=own)) < 1100

    async def test_where_the_jobs_own_says_none_the_plugins_are_asked(self, failing: Any) -> None:
        assert 1999 < self.delay(await failing(2000, retry=lambda ctx, error: None)) < 2100

    async def test_it_is_not_asked_on_the_last_attempt(self, failing: Any) -> None:
        assert (await failing(1000, max_attempts=1))["status"] == "dead"


class TestDatabaseUrl:
    """Asked where no URL was given."""

    async def test_the_first_result_is_used(
        self,
        make_app: MakeApp,
        make_plugin: MakePlugin,
        database_url: str,
        calls: list[str],
        run: Run,
    ) -> None:
        def saying(name: str, url: str | None) -> Any:
            def provide(app: Soniq) -> str | None:
                calls.append(name)
                return url

            return make_plugin(name, database_url=provide)

        plugins = [
            saying("none", None),
            saying("one", database_url),
            saying("two", "postgresql://nowhere/at-all"),
        ]
        app = make_app(database_url=None, plugins=plugins)

        @app.job()
        async def handler() -> None: ...

        assert (await run(app, handler))["status"] == "done"
        assert calls == ["none", "one"]

    async def test_it_is_not_asked_where_one_was_given(
        self, make_app: MakeApp, make_plugin: MakePlugin
    ) -> None:
        def refuses() -> str:
            raise AssertionError("asked")

        await make_app(plugins=[make_plugin("refuses", database_url=refuses)]).start()

    async def test_an_error_ends_the_start_and_names_the_plugin(
        self, make_app: MakeApp, make_plugin: MakePlugin
    ) -> None:
        async def fails() -> str:
            raise OSError("no room")

        app = make_app(database_url=None, plugins=[make_plugin("full", database_url=fails)])
        with pytest.raises(
            PluginError, match="database_url of full failed: OSError: no room"
        ) as caught:
            await app.start()
        assert caught.value.plugin == "full"

    async def test_a_url_that_is_not_postgresqls_ends_the_start_and_is_not_shown(
        self, make_app: MakeApp, make_plugin: MakePlugin
    ) -> None:
        app = make_app(
            database_url=None,
            plugins=[make_plugin("odd", database_url=lambda: "mysql://me:secret@host")],
        )
        with pytest.raises(ConfigurationError) as caught:
            await app.start()
        assert "secret" not in str(caught.value)

    async def test_without_any_the_error_names_the_ways_out(self, make_app: MakeApp) -> None:
        with pytest.raises(ConfigurationError, match=r"SONIQ_DATABASE_URL.*soniq-embedded"):
            await make_app(database_url=None).start()

    async def test_the_app_cannot_be_used_in_it(
        self, make_app: MakeApp, make_plugin: MakePlugin
    ) -> None:
        async def uses_it(app: Soniq) -> str:
            await app.enqueue("job")
            return "postgresql://unreached"

        app = make_app(database_url=None, plugins=[make_plugin("early", database_url=uses_it)])
        with pytest.raises(SoniqError, match="is being started"):
            await asyncio.wait_for(app.start(), 10)
