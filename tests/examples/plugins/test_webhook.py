"""soniq-webhook: what is posted of dead jobs, that no crash loses one, and that nobody else can
send one.
"""

import asyncio
import json
import logging
import multiprocessing
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from soniq import Cancel, ConfigurationError, JobFailed, Soniq
from soniq_testing import check_plugin, drain, travel
from soniq_webhook import HEADER, Webhook, WebhookPlugin, sign, verify
from tests.conftest import MakeApp

from .conftest import Stored
from .receiver import LIMIT, Posted, Receiver
from .worker import define

ROOT = Path(__file__).parents[3]
SECRET = "a-secret-of-webhooks"
PATH = "/soniq?token=a-token-in-the-url"
POST = "soniq_webhook.post"

HookedApp = Callable[..., Soniq]


@pytest.fixture
def hooked(make_app: MakeApp, receiver: Receiver) -> HookedApp:
    """Makes apps that post to the receiver; `url` is another place, other keywords are options of
    the plugin.
    """

    def hooked(
        url: str | None = None, settings: dict[str, Any] | None = None, **options: Any
    ) -> Soniq:
        plugin = WebhookPlugin(url or receiver.url + PATH, SECRET, **options)
        return make_app(plugins=[plugin], **settings or {})

    return hooked


@pytest.fixture
def app(hooked: HookedApp) -> Soniq:
    """An app that posts to the receiver, with a job that fails at once."""
    app = hooked()
    define(app)
    return app


async def enqueue_dead(app: Soniq, name: str = "fails") -> str:
    """Enqueue the job that fails, and work off all that is due."""
    job_id = await app.enqueue(name)
    await drain(app)
    return job_id


def event(posted: Posted) -> Any:
    """What a request says, once it is known to be from us."""
    assert verify(SECRET, posted.body, posted.headers[HEADER])
    return json.loads(posted.body)


async def posts(app: Soniq) -> list[str]:
    """How the webhooks stand in the database."""
    return [job["status"] for job in await app.jobs(name=POST)]


async def post_error(app: Soniq) -> str:
    """Why the only webhook could not be posted."""
    (job,) = await app.jobs(name=POST)
    assert job["error"] is not None
    return job["error"]["message"]


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection, and wait until it is."""
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


class TestPosted:
    async def test_a_dead_job_is_told_with_its_error(self, app: Soniq, receiver: Receiver) -> None:
        job_id = await enqueue_dead(app)
        posted = await receiver.next()
        assert (posted.path, posted.headers["Content-Type"]) == (PATH, "application/json")
        told = event(posted)
        assert told.pop("created_at").endswith("+00:00")
        (webhook,) = await app.jobs(name=POST)
        assert told == {
            "id": webhook["job_id"],
            "type": "job.dead",
            "job": {
                "id": job_id, "name": "fails", "queue": "default", "attempt": 1,
                "error_type": "LookupError", "error_message": "nobody home",
            },
        }  # fmt: skip
        assert await posts(app) == ["done"]

    async def test_what_is_not_dead_is_not_told(self, app: Soniq, receiver: Receiver) -> None:
        @app.job(max_attempts=2, retry=0)
        async def second_time_lucky(attempts: list[int]) -> None:
            if not tries:
                tries.append(1)
                raise LookupError

        @app.job()
        async def cancels() -> None:
            raise Cancel("not wanted")

        tries: list[int] = []
        ids = [await app.enqueue(second_time_lucky, []), await app.enqueue(cancels)]
        await drain(app)
        found = [await app.get_job_status(job_id) for job_id in ids]
        assert [job and job["status"] for job in found] == ["done", "cancelled"]
        assert (await posts(app), receiver.posted) == ([], [])

    async def test_arguments_are_not_told(self, app: Soniq, receiver: Receiver) -> None:
        @app.job(max_attempts=1)
        async def pay(account: str) -> None:
            raise LookupError("no such account")

        await app.enqueue(pay, "an-account-number")
        await drain(app)
        assert b"an-account-number" not in (await receiver.next()).body

    async def test_many_that_die_at_once_are_told_once_each(
        self, app: Soniq, receiver: Receiver
    ) -> None:
        ids = await app.enqueue_many("fails", [{} for _ in range(100)])
        await drain(app)
        assert sorted(event(posted)["job"]["id"] for posted in receiver.posted) == sorted(ids)
        assert len({event(posted)["id"] for posted in receiver.posted}) == 100

    async def test_a_webhook_waits_in_the_queue_of_its_job(
        self, app: Soniq, receiver: Receiver
    ) -> None:
        await app.enqueue("fails", queue="mail")
        await app.run_worker(run_once=True, queues=["mail"])
        assert event(await receiver.next())["job"]["queue"] == "mail"
        assert [job["queue"] for job in await app.jobs(name=POST)] == ["mail"]

    @pytest.mark.parametrize(
        ("text", "told"),
        [("half \ud800", "half \\ud800"), ("a\0b", "a\0b"), ("x" * 1_000_000, "x" * 2_000)],
        ids=["surrogate", "nul", "long"],
    )
    async def test_an_error_is_told_whatever_its_text(
        self, app: Soniq, receiver: Receiver, text: str, told: str
    ) -> None:
        @app.job(max_attempts=1)
        async def fails_so() -> None:
            raise LookupError(text)

        await app.enqueue(fails_so)
        await drain(app)
        assert event(await receiver.next())["job"]["error_message"] == told

    async def test_an_error_that_has_no_text_is_told(self, app: Soniq, receiver: Receiver) -> None:
        class Mute(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        @app.job(max_attempts=1)
        async def fails_so() -> None:
            raise Mute

        await app.enqueue(fails_so)
        await drain(app)
        assert (
            event(await receiver.next())["job"]["error_message"]
            == "(its text cannot be made: RuntimeError)"
        )

    async def test_an_app_that_is_used_again_posts_again(
        self, app: Soniq, receiver: Receiver
    ) -> None:
        for _ in range(2):
            await enqueue_dead(app)
            await app.close()
        assert len(receiver.posted) == 2

    def test_a_process_that_was_forked_uses_the_app_anew(
        self, make_app: MakeApp, receiver: Receiver
    ) -> None:
        """As with gunicorn's --preload: the app was in use before."""
        app = make_app(plugins=[WebhookPlugin(receiver.url, SECRET)])
        app.sync.start()
        child = multiprocessing.get_context("fork").Process(target=app.sync.backlog)
        child.start()
        child.join(LIMIT)
        app.sync.close()
        assert child.exitcode == 0

    async def test_two_apps_cannot_share_one_plugin(
        self, make_app: MakeApp, receiver: Receiver
    ) -> None:
        plugin = WebhookPlugin(receiver.url, SECRET)
        await make_app(plugins=[plugin]).start()
        with pytest.raises(Exception, match="one WebhookPlugin was passed to two apps"):
            await make_app(plugins=[plugin]).start()


class TestRetried:
    async def test_it_is_posted_until_it_is_taken_with_the_same_id(
        self, app: Soniq, receiver: Receiver
    ) -> None:
        receiver.answers = [(500, {}), (404, {})]
        await enqueue_dead(app)
        for _ in range(2):
            assert await posts(app) == ["queued"]
            await travel(app, 3)
            await drain(app)
        assert await posts(app) == ["done"]
        assert len(receiver.posted) == 3
        assert len({event(posted)["id"] for posted in receiver.posted}) == 1

    @pytest.mark.parametrize("status", [302, 307])
    async def test_a_redirect_is_not_followed(
        self, app: Soniq, receiver: Receiver, status: int
    ) -> None:
        receiver.answers = [(status, {"Location": "/elsewhere"})]
        await enqueue_dead(app)
        assert [posted.path for posted in receiver.posted] == [PATH]
        assert await post_error(app) == f"{receiver.url} answered with status {status}"

    async def test_a_receiver_that_is_away_is_named_without_path_and_secret(
        self, hooked: HookedApp, unused_tcp_port: int
    ) -> None:
        app = hooked(f"http://127.0.0.1:{unused_tcp_port}{PATH}")
        define(app)
        await enqueue_dead(app)
        assert (await post_error(app)).startswith(
            f"http://127.0.0.1:{unused_tcp_port} cannot be reached: "
        )

    @pytest.mark.parametrize("drip", [b"", b"x"], ids=["silent", "dripping"])
    async def test_a_receiver_that_does_not_come_to_an_end_is_left(
        self, hooked: HookedApp, drip: bytes
    ) -> None:
        async def never_ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while not over.is_set():
                    writer.write(drip)  # a status line that never ends: each byte comes in time
                    await asyncio.sleep(0.05)
            finally:
                await closed(writer)
                left.set()

        over, left = asyncio.Event(), asyncio.Event()
        async with await asyncio.start_server(never_ends, "127.0.0.1", 0) as server:
            host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            app = hooked(host, timeout=0.3)
            define(app)
            await enqueue_dead(app)
            over.set()
            await left.wait()
        assert await post_error(app) == f"{host} did not answer within 0.3 s"

    async def test_receivers_that_drip_hold_no_threads_and_no_stop(self, hooked: HookedApp) -> None:
        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            begun.append(1)
            with suppress(ConnectionError):
                while not over.is_set():
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.05)
            await closed(writer)
            ended.append(1)

        begun: list[int] = []
        ended: list[int] = []
        over, count = asyncio.Event(), 40  # more than the default executor has threads
        async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
            host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            app = hooked(host, timeout=600, settings={"grace": 0.2, "concurrency": count})
            define(app)
            for _ in range(count):
                await app.enqueue("fails")
            worker = asyncio.create_task(app.run_worker())
            while len(begun) < count:
                await asyncio.sleep(0.01)
            assert await asyncio.wait_for(asyncio.to_thread(int), LIMIT) == 0
            app.stop_workers()
            await asyncio.wait_for(worker, LIMIT)
            over.set()
            async with asyncio.timeout(LIMIT):
                while len(ended) < len(begun):
                    await asyncio.sleep(0.01)
        assert set(await posts(app)) == {"queued"}

    async def test_a_webhook_that_is_dead_causes_no_other(
        self, app: Soniq, receiver: Receiver
    ) -> None:
        receiver.answers = [(500, {})] * 20
        await enqueue_dead(app)
        while await posts(app) == ["queued"]:
            await travel(app, 5_000)
            await drain(app)
        assert await posts(app) == ["dead"]
        assert len(receiver.posted) == 20


class TestOptions:
    async def test_a_job_can_be_left_out(self, app: Soniq, receiver: Receiver) -> None:
        @app.job(Webhook(False), max_attempts=1)
        async def quiet() -> None:
            raise LookupError

        await app.enqueue(quiet)
        await enqueue_dead(app)
        assert [event(posted)["job"]["name"] for posted in receiver.posted] == ["fails"]

    async def test_a_job_can_be_taken_in_where_the_others_are_not(
        self, hooked: HookedApp, receiver: Receiver
    ) -> None:
        app = hooked(default=False)
        define(app)

        @app.job(Webhook(), name="loud", max_attempts=1)
        async def loud() -> None:
            raise LookupError

        await app.enqueue(loud)
        await enqueue_dead(app)
        assert [event(posted)["job"]["name"] for posted in receiver.posted] == ["loud"]

    async def test_the_environment_configures_it_where_it_is_installed(
        self, make_app: MakeApp, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SONIQ_PLUGINS", "webhook")
        monkeypatch.setenv("SONIQ_WEBHOOK_URL", receiver.url)
        monkeypatch.setenv("SONIQ_WEBHOOK_SECRET", SECRET)
        app = make_app(discover=True)
        define(app)
        for _ in range(2):  # a plugin that is found is made anew at each start
            await enqueue_dead(app)
            assert event(await receiver.next())["job"]["name"] == "fails"
            await app.close()

    async def test_without_a_url_it_does_nothing_and_says_so_once(
        self, make_app: MakeApp, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "soniq.webhook")
        app = make_app(plugins=[WebhookPlugin()])
        define(app)
        await enqueue_dead(app)
        assert list(app.registry) == ["fails"]
        assert [job["job_name"] for job in await app.jobs()] == ["fails"]
        assert [record.message for record in caplog.records if record.name == "soniq.webhook"] == [
            "SONIQ_WEBHOOK_URL is not set: no webhook is sent"
        ]

    @pytest.mark.parametrize(
        ("variables", "message"),
        [
            ({"URL": "https://example.org"}, "there is no secret: set SONIQ_WEBHOOK_SECRET"),
            (
                {"URL": "https://example.org", "SECRET": "a-short-one"},
                "needs 16 characters or more",
            ),
            ({"URL": "ftp://example.org/a-token", "SECRET": SECRET}, "begins with https"),
            ({"URL": "https:///a-token", "SECRET": SECRET}, "names a host"),
            ({"URL": "https://u:a-token@example.org", "SECRET": SECRET}, "holds no user, password"),
            ({"URL": "https://example.org/a token", "SECRET": SECRET}, "or space"),
            ({"URL": "https://example.org:a-token/", "SECRET": SECRET}, "names a host"),
            ({"TIMEOUT": "soon"}, "SONIQ_WEBHOOK_TIMEOUT 'soon' cannot be used"),
            ({"TIMEOUT": "0"}, "SONIQ_WEBHOOK_TIMEOUT '0' cannot be used"),
            ({"DEFAULT": "maybe"}, "SONIQ_WEBHOOK_DEFAULT is true or false, not 'maybe'"),
        ],
    )
    def test_what_cannot_be_used_is_refused_and_not_repeated(
        self, variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(f"SONIQ_WEBHOOK_{name}", value)
        with pytest.raises(ConfigurationError, match=message) as caught:
            WebhookPlugin()
        assert not re.search(f"a.token|a-short-one|{SECRET}", str(caught.value))

    async def test_neither_secret_nor_path_is_in_the_database_a_log_or_a_repr(
        self, app: Soniq, receiver: Receiver, stored: Stored, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        receiver.answers = [(500, {})]
        await enqueue_dead(app)
        await travel(app, 3)
        await drain(app)
        plugin = WebhookPlugin(receiver.url + PATH, SECRET)
        assert repr(plugin) == f"<WebhookPlugin <Sender to {receiver.url}>>"
        shown = (
            await stored() + caplog.text + repr(plugin) + "".join(map(repr, vars(plugin).values()))
        )
        assert "nobody home" in shown
        assert SECRET not in shown
        assert "a-token-in-the-url" not in shown


class TestSignature:
    BODY = b'{"type": "job.dead"}'

    def test_what_was_signed_is_verified(self) -> None:
        assert verify(SECRET, self.BODY, sign(SECRET, self.BODY, int(time.time())))

    def test_the_signature_is_the_documented_one(self) -> None:
        # printf '1800000000.{}' | openssl dgst -sha256 -hmac key
        openssl = "7321475872b03ff21bdc2dfd86ea2d99ec29c479fbe4a77aa6acf4509505493f"
        assert sign("key", b"{}", 1_800_000_000) == f"t=1800000000,v1={openssl}"

    @pytest.mark.parametrize("ago", [301, -301])
    def test_a_time_beyond_the_tolerance_is_refused(self, ago: int) -> None:
        header = sign(SECRET, self.BODY, int(time.time()) - ago)
        assert not verify(SECRET, self.BODY, header)
        assert verify(SECRET, self.BODY, header, tolerance=400)

    def test_neither_body_nor_time_nor_secret_can_be_another(self) -> None:
        now = int(time.time())
        header = sign(SECRET, self.BODY, now)
        assert not verify(SECRET, self.BODY + b" ", header)
        assert not verify(SECRET, self.BODY, header.replace(str(now), str(now + 1)))
        assert not verify(SECRET, self.BODY, header[:-1] + ("0" if header[-1] != "0" else "1"))
        assert not verify(SECRET, self.BODY, header[:-1])
        assert not verify(f"{SECRET}!", self.BODY, header)

    def test_one_of_several_signatures_is_enough(self) -> None:
        header = sign(SECRET, self.BODY, int(time.time()))
        time_, ours = header.split(",")
        assert verify(SECRET, self.BODY, f"{time_},v1=00,{ours},v2=whatever")

    @pytest.mark.parametrize(
        "header",
        [
            None,
            "",
            "t=",
            "t=1",
            "v1=00",
            "t=x,v1=00",
            "t=" + "9" * 5000 + ",v1=00",
            "t=\u0661,v1=\u00e9",
        ],
    )
    def test_what_is_no_signature_is_refused(self, header: str | None) -> None:
        assert not verify(SECRET, self.BODY, header)
        assert not verify(
            SECRET, self.BODY, header and header.replace("t=1", f"t={int(time.time())},v1=\u00e9")
        )


StartWorker = Callable[[str], Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def start_worker(
    database_url: str, schema: str, receiver: Receiver
) -> AsyncIterator[StartWorker]:
    """Starts a worker process on this test's schema that kills itself at a point."""
    started: list[asyncio.subprocess.Process] = []

    async def start(die: str) -> asyncio.subprocess.Process:
        settings = {
            "database_url": database_url, "schema": schema, "lease": 1, "poll_interval": 0.1,
            "url": receiver.url, "secret": SECRET, "die": die,
        }  # fmt: skip
        command = [sys.executable, "-m", "tests.examples.plugins.worker", json.dumps(settings)]
        started.append(await asyncio.create_subprocess_exec(*command, cwd=ROOT))
        return started[-1]

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def working(app: Soniq) -> AsyncIterator[None]:
    """A worker of an app that runs meanwhile."""
    worker = asyncio.create_task(app.run_worker())
    try:
        yield
    finally:
        while not worker.done():
            app.stop_workers()
            await asyncio.wait([worker], timeout=0.05)
        await worker


class TestCrashes:
    @pytest.mark.parametrize(
        ("die", "left"),
        [("settle_tx", ("running", 0)), ("settled", ("dead", 1)), ("handler", ("running", 0))],
    )
    async def test_a_worker_that_is_killed_loses_no_webhook(
        self,
        hooked: HookedApp,
        receiver: Receiver,
        start_worker: StartWorker,
        die: str,
        left: tuple[str, int],
    ) -> None:
        app = hooked(settings={"lease": 1})
        define(app)
        job_id = await app.enqueue("fails")
        process = await start_worker(die)
        assert await asyncio.wait_for(process.wait(), LIMIT) == -9
        status = await app.get_job_status(job_id)
        assert status is not None
        assert (status["status"], len(await posts(app))) == left  # both are there, or neither
        assert receiver.posted == []

        async with working(app):
            told = event(await receiver.next())
        assert told["job"]["id"] == job_id
        assert len(receiver.posted) == 1
        assert await posts(app) == ["done"]

    async def test_a_job_whose_workers_die_is_told_as_such(
        self, hooked: HookedApp, receiver: Receiver, start_worker: StartWorker
    ) -> None:
        app = hooked(settings={"lease": 1})
        define(app)
        job_id = await app.enqueue("fails")
        for _ in range(2):  # the first death is nobody's fault yet
            process = await start_worker("handler")
            assert await asyncio.wait_for(process.wait(), LIMIT) == -9
        async with working(app):
            told = event(await receiver.next())
        assert (told["job"]["id"], told["job"]["error_type"]) == (job_id, "soniq.errors.WorkerLost")
        assert len(receiver.posted) == 1

    async def test_a_pool_without_a_free_connection_loses_no_webhook(
        self, hooked: HookedApp, make_app: MakeApp, receiver: Receiver
    ) -> None:
        app = hooked(settings={"pool_size": 1, "connect_timeout": 0.2})
        async with AsyncExitStack() as held:

            @app.job(name="takes_all")
            async def takes_all() -> None:
                await held.enter_async_context(app.connection())
                raise LookupError

            producer = make_app(unknown_jobs="allow")
            async with working(app):
                job_id = await producer.enqueue("takes_all", max_attempts=1)
                with pytest.raises(JobFailed):  # settled, with its webhook
                    await producer.wait_for(job_id, timeout=LIMIT)
                await held.aclose()
                assert event(await receiver.next())["job"]["id"] == job_id


async def test_it_keeps_to_the_contract(receiver: Receiver, database_url: str) -> None:
    await check_plugin(
        WebhookPlugin(receiver.url, SECRET),
        options=[Webhook()],
        threads=["asyncio_"],
        database_url=database_url,
    )


async def test_it_keeps_to_the_contract_without_a_url(database_url: str) -> None:
    await check_plugin(WebhookPlugin(), database_url=database_url)
