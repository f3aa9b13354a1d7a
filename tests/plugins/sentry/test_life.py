"""Configuration, the end, and what must not happen: a job that fails with Sentry, or a DSN in a
message.
"""

import gzip
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope

from soniq import ConfigurationError, JobContext, Soniq
from soniq.errors import PluginError, WorkerLost
from soniq.plugin import Outcome, OutcomeStatus
from soniq_sentry import SentryPlugin
from tests.conftest import MakeApp
from tests.plugins.sentry.backend import Backend, exceptions
from tests.plugins.sentry.conftest import Init, Run
from tests.support.forks import Forks
from tests.support.jobs import status_of, working
from tests.support.processes import Process
from tests.support.waiting import eventually

KEY = "5ec1e7ke7"


@pytest.mark.usefixtures("no_sentry")
async def test_without_init_the_plugin_does_nothing(app: Soniq, run: Run) -> None:
    seen: list[object] = []

    @app.job()
    async def handler(ctx: JobContext) -> None:
        seen.append(dict(ctx.headers))

    assert (await run(app, handler))["status"] == "done"
    assert seen == [{}]


async def test_init_may_come_after_the_start(
    app: Soniq, no_sentry: None, init: Init, run: Run
) -> None:
    await app.start()
    backend = init()

    @app.job(name="late")
    async def late() -> None: ...

    await run(app, late)
    assert backend.span("queue.process").name == "late"


async def test_a_dsn_changes_nothing_where_init_was_called(
    make_app: MakeApp, backend: Backend, run: Run
) -> None:
    app = make_app(plugins=[SentryPlugin(dsn=f"http://{KEY}@other.invalid/2")])
    await run(app, app.job(name="job")(_nothing))
    assert backend.span("queue.process").name == "job"


async def test_what_is_on_its_way_is_sent_when_the_app_closes(
    make_app: MakeApp, init: Init
) -> None:
    backend = init(shutdown_timeout=0.75)
    app = make_app(plugins=[SentryPlugin()])
    await app.start()
    assert backend.limits == []
    await app.close()
    assert backend.limits == [0.75]


class TestDsn:
    """A DSN that the plugin is given."""

    def test_it_is_in_no_repr(self) -> None:
        assert KEY not in repr(SentryPlugin(dsn=f"http://{KEY}@sentry.invalid/1"))

    @pytest.mark.parametrize(
        "dsn", [f"ftp://{KEY}@host/1", f"http://{KEY}@host/{KEY}", f"http://a@host:{KEY}/1", KEY]
    )
    def test_it_is_in_no_error(self, dsn: str) -> None:
        with pytest.raises(ConfigurationError, match="SONIQ_SENTRY_DSN") as caught:
            SentryPlugin(dsn=dsn)
        assert KEY not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    async def test_one_that_is_wrong_ends_the_start(
        self, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SONIQ_SENTRY_DSN", KEY)
        with pytest.raises((ConfigurationError, PluginError), match="SONIQ_SENTRY_DSN") as caught:
            await make_app(plugins=[SentryPlugin]).start()
        assert KEY not in str(caught.value)

    def test_a_report_that_does_not_exist_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SONIQ_SENTRY_REPORT", "sometimes")
        with pytest.raises(ConfigurationError, match="SONIQ_SENTRY_REPORT"):
            SentryPlugin()


class TestHarm:
    """A failure of Sentry's is logged, and nobody else's."""

    @pytest.fixture
    def warnings(self, caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
        return lambda: [r.getMessage() for r in caplog.records if r.name == "soniq.sentry"]

    @pytest.mark.parametrize("function", ["get_traceparent", "isolation_scope"])
    async def test_an_enqueue_and_a_job_do_not_fail_where_it_cannot_begin(
        self, app: Soniq, backend: Backend, run: Run, monkeypatch: pytest.MonkeyPatch,
        warnings: Callable[[], list[str]], function: str,
    ) -> None:  # fmt: skip
        def fail() -> None:
            raise RuntimeError("Sentry fails")

        monkeypatch.setattr(sentry_sdk, function, fail)
        assert (await run(app, app.job(_nothing)))["status"] == "done"
        assert warnings() == ["Sentry records nothing of this: RuntimeError('Sentry fails')"]

    async def test_a_job_does_not_fail_where_nothing_can_be_sent(
        self, app: Soniq, init: Init, run: Run, warnings: Callable[[], list[str]]
    ) -> None:
        class Broken(Backend):
            def capture_envelope(self, envelope: Envelope) -> None:
                raise RuntimeError("cannot be sent")

        @app.job(max_attempts=1)
        async def fails() -> None:
            raise ValueError("of the handler")

        init(transport=Broken())
        status = await run(app, fails)
        assert status["error"] is not None
        assert status["error"]["message"] == "of the handler"
        assert warnings() == ["Sentry does not record all of this: RuntimeError('cannot be sent')"]

    async def test_an_event_that_cannot_be_made_changes_no_outcome(
        self, app: Soniq, init: Init, run: Run
    ) -> None:
        class Unprintable:
            def __repr__(self) -> str:
                raise RuntimeError("no repr")

        @app.job(max_attempts=1)
        async def fails() -> None:
            unprintable = Unprintable()
            raise ValueError(unprintable)

        init()
        assert (await run(app, fails))["status"] == "dead"


WORKER = """
import asyncio, os
from soniq import Soniq

app = Soniq(discover=False, poll_interval=0.1, lease=1)

@app.job(name="killer", max_attempts=1)
async def killer() -> None:
    await asyncio.sleep(0.05)
    os._exit(9)

asyncio.run(app.run_worker())
"""

SENDER = """
import asyncio, os
from soniq import Soniq
from soniq_sentry import SentryPlugin

app = Soniq(discover=False, plugins=[SentryPlugin])

@app.job(name="fails", max_attempts=1)
async def fails() -> None:
    raise ValueError("to be seen")

async def main() -> None:
    await app.enqueue(fails)
    await app.run_worker(run_once=True)
    await app.close()
    os._exit(0)  # nothing of the SDK's own is done at the exit

asyncio.run(main())
"""


class TestProcesses:
    """Workers in processes of their own."""

    @pytest.fixture
    def environment(self, database_url: str, schema: str) -> dict[str, str]:
        return {"SONIQ_DATABASE_URL": database_url, "SONIQ_SCHEMA": schema}

    @pytest.fixture
    def received(self) -> Iterator[tuple[str, list[Envelope]]]:
        """A server that takes envelopes over HTTP, as Sentry does: its DSN, and what came."""
        envelopes: list[Envelope] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Encoding"] == "gzip"
                envelopes.append(Envelope.deserialize(gzip.decompress(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = Thread(target=server.serve_forever)
            thread.start()
            yield f"http://public@127.0.0.1:{server.server_port}/1", envelopes
            server.shutdown()
            thread.join(10)

    async def test_with_a_dsn_errors_arrive_before_the_app_has_closed(
        self,
        tmp_path: Path,
        environment: dict[str, str],
        received: tuple[str, list[Envelope]],
        forks: Forks,
    ) -> None:
        dsn, envelopes = received
        process = _start(
            forks,
            tmp_path / "sender.py",
            SENDER,
            {**environment, "SONIQ_SENTRY_DSN": dsn, "no_proxy": "*"},
        )
        try:
            assert await process.ended() == 0, process.said()
        finally:
            process.close()
        (event,) = [event for event in (envelope.get_event() for envelope in envelopes) if event]
        assert exceptions(event)[0]["value"] == "to be seen"

    async def test_a_job_that_dies_with_its_worker_is_reported_by_the_one_that_rescues(
        self,
        make_app: MakeApp,
        backend: Backend,
        tmp_path: Path,
        environment: dict[str, str],
        forks: Forks,
    ) -> None:
        app = make_app(lease=1, plugins=[SentryPlugin()])

        @app.job(name="killer", max_attempts=1)
        async def killer() -> None: ...

        async def none_runs() -> bool:
            return not await app.jobs(status="running")

        trace = str(sentry_sdk.get_traceparent()).partition("-")[0]
        job_id = await app.enqueue(killer)
        async with working(app, queues=["of nobody"]):  # it rescues, and runs nothing
            for deaths in range(3):
                if (await status_of(app, job_id))["status"] == "dead":
                    break
                process = _start(forks, tmp_path / f"worker{deaths}.py", WORKER, environment)
                try:
                    await process.ended()
                finally:
                    process.close()
                await eventually(none_runs)
        event = backend.event
        assert exceptions(event)[0]["type"] == "WorkerLost"
        assert exceptions(event)[0]["mechanism"]["handled"] is False
        assert event["extra"]["soniq-job"]["id"] == job_id
        assert event["fingerprint"] == ["soniq", "WorkerLost", "killer"]
        assert event["contexts"]["trace"]["trace_id"] == trace


@pytest.mark.parametrize(("status", "reported"), [("dead", 1), ("queued", 1), ("cancelled", 0)])
def test_a_job_that_was_to_be_cancelled_when_its_worker_died_is_not_reported(
    backend: Backend, status: OutcomeStatus, reported: int
) -> None:
    error = WorkerLost("worker")
    ctx = JobContext(job_id="1", job_name="job")
    ctx.outcome = Outcome(
        job_id="1",
        job_name="job",
        queue="default",
        attempt=1,
        status=status,
        kind="lost",
        error=error,
    )
    SentryPlugin(report="every").on_error(ctx, error)
    assert len(backend.events) == reported


async def _nothing() -> None:
    """A job that does nothing."""


def _start(forks: Forks, script: Path, code: str, environment: dict[str, str]) -> Process:
    script.write_text(code)
    return Process(forks, script, environment)
