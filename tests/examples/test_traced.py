"""The traced example, as it is run: with all five plugins, without each of them, and without
any.
"""

import asyncio
import gzip
import json
import os
import signal
import uuid
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest
from sentry_sdk.envelope import Envelope

from soniq_webhook import HEADER, verify
from tests.plugins.otel.backend import Receiver as OtlpReceiver
from tests.plugins.otel.backend import Span, receiving
from tests.support.forks import Fork, Forks

from .plugins.receiver import LIMIT, Receiver, receivers

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-of-webhooks"
PLUGINS = ("otel", "sentry", "results", "encrypted", "webhook")
SHOWN = "an invoice of 4001 characters for Ada\nthe charge failed: the bank does not answer\n"

CHOICES = {
    "all": (set(PLUGINS), None),
    **{f"without {name}": (set(PLUGINS) - {name}, f"-{name}") for name in PLUGINS},
    "none": (set[str](), ""),
}
"""Which plugins are loaded, and the SONIQ_PLUGINS that says so."""


class Backends(NamedTuple):
    """What receives, and the environment that leads there."""

    otlp: OtlpReceiver
    sentry: Receiver
    webhooks: Receiver
    results: Path
    environment: dict[str, str]

    @property
    def stored(self) -> list[Path]:
        """The results outside the database."""
        return [path for path in self.results.rglob("*") if path.is_file()]

    def traces(self) -> dict[str, list[Span]]:
        """Spans by trace."""
        found: dict[str, list[Span]] = {}
        for span in sorted(self.otlp.spans, key=lambda span: span.began):
            found.setdefault(span.place[0], []).append(span)
        return found

    def transactions(self) -> list[dict[str, Any]]:
        """The attempts at jobs that Sentry was told of."""
        return self.sent_to_sentry("transaction")

    def sent_to_sentry(self, kind: str) -> list[dict[str, Any]]:
        """The items of a kind in the envelopes that arrived."""
        found = []
        for posted in self.sentry.posted:
            body = (
                gzip.decompress(posted.body)
                if posted.headers["Content-Encoding"] == "gzip"
                else posted.body
            )
            found += [
                item.payload.json for item in Envelope.deserialize(body).items if item.type == kind
            ]
        return [each for each in found if each is not None]


@contextmanager
def receiving_all(database_url: str, schema: str, folder: Path) -> Iterator[Backends]:
    """An OTLP receiver, an address for Sentry, a receiver of webhooks, and a folder for results."""
    with receiving("http") as (otlp, endpoint), receivers() as sentry, receivers() as webhooks:
        environment = {
            "SONIQ_DATABASE_URL": database_url,
            "SONIQ_SCHEMA": schema,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "SENTRY_DSN": f"{sentry.url.replace('//', '//key@')}/1",
            "SONIQ_RESULTS_URL": folder.as_uri(),
            "SONIQ_RESULTS_THRESHOLD": "1000",
            "SONIQ_ENCRYPTED_KEYS": f"2027:{b64encode(bytes(32)).decode()}",
            "SONIQ_ENCRYPTED_DEFAULT": "true",
            "SONIQ_WEBHOOK_URL": webhooks.url,
            "SONIQ_WEBHOOK_SECRET": SECRET,
        }
        yield Backends(otlp, sentry, webhooks, folder, environment)


@pytest.fixture
def backends(database_url: str, schema: str, tmp_path: Path) -> Iterator[Backends]:
    """What receives, for one run."""
    with receiving_all(database_url, schema, tmp_path) as backends:
        yield backends


@pytest.fixture(scope="module")
def everything(
    database_url: str, tmp_path_factory: pytest.TempPathFactory, forks_with_plugins: Forks
) -> Iterator[Backends]:
    """What has arrived after one run with all the plugins."""
    schema = f"test_{uuid.uuid4().hex[:12]}"
    with receiving_all(database_url, schema, tmp_path_factory.mktemp("results")) as backends:
        assert asyncio.run(run(forks_with_plugins, backends, "all")) == SHOWN
        yield backends
    asyncio.run(drop(database_url, schema))


async def drop(database_url: str, schema: str) -> None:
    """Drop a schema and those of plugins beside it."""
    connection = await asyncpg.connect(database_url)
    for row in await connection.fetch(
        "select nspname from pg_namespace where starts_with(nspname, $1)", schema
    ):
        await connection.execute(f'drop schema "{row["nspname"]}" cascade')
    await connection.close()


@contextmanager
def program(forks: Forks, *arguments: str, environment: dict[str, str]) -> Iterator[Fork]:
    """A process with nothing of this one's settings, which is not left behind, whatever happens."""
    outside = {
        name: each
        for name, each in os.environ.items()
        if not name.startswith(("SONIQ_", "OTEL_", "SENTRY_"))
    }
    process = forks.start(arguments, cwd=ROOT, env=outside | environment)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(LIMIT)


async def run(forks: Forks, backends: Backends, choice: str) -> str:
    """Run the worker and the program with a choice of plugins; what the program shows."""
    loaded, plugins = CHOICES[choice]
    environment = backends.environment | ({} if plugins is None else {"SONIQ_PLUGINS": plugins})
    module = "examples.traced.observed"
    with (
        program(forks, "-m", "soniq", "worker", f"{module}:eq", environment=environment) as worker,
        program(forks, "-m", module, environment=environment) as shop,
    ):
        shown, _ = await asyncio.to_thread(shop.communicate, LIMIT)
        assert shop.returncode == 0
        if "webhook" in loaded:
            await backends.webhooks.next()
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, LIMIT) == 0
    return shown


def test_one_trace_leads_from_the_enqueue_through_both_jobs(everything: Backends) -> None:
    (trace,) = [spans for spans in everything.traces().values() if len(spans) > 2]
    assert [(span.kind, span.attributes["soniq.job.name"]) for span in trace] == [
        ("PRODUCER", "examples.traced.app.order"),
        ("CONSUMER", "examples.traced.app.order"),
        ("PRODUCER", "examples.traced.app.print_invoice"),
        ("CONSUMER", "examples.traced.app.print_invoice"),
    ]
    assert [span.parent for span in trace] == [None, *(span.place for span in trace[:-1])]


def test_sentry_has_one_trace_through_both_jobs_and_the_error_of_the_third(
    everything: Backends,
) -> None:
    traces = {
        sent["transaction"]: sent["contexts"]["trace"]["trace_id"]
        for sent in everything.transactions()
    }
    assert traces["examples.traced.app.order"] == traces["examples.traced.app.print_invoice"]
    (error,) = everything.sent_to_sentry("event")
    assert error["exception"]["values"][-1]["type"] == "ConnectionError"
    assert error["contexts"]["trace"]["trace_id"] == traces["examples.traced.app.charge"]


def test_the_invoice_is_outside_the_database_and_encrypted_there(everything: Backends) -> None:
    (path,) = everything.stored
    assert path.stat().st_size > 4_000
    assert path.read_bytes().startswith(b"\x01\x01\x042027")


def test_the_dead_charge_is_told_once_and_signed(everything: Backends) -> None:
    (posted,) = everything.webhooks.posted
    assert verify(SECRET, posted.body, posted.headers[HEADER])
    assert json.loads(posted.body)["job"]["name"] == "examples.traced.app.charge"


@pytest.mark.parametrize("choice", [choice for choice in CHOICES if choice != "all"])
async def test_the_program_is_the_same_without_any_of_them(
    choice: str,
    backends: Backends,
    schema: str,
    connection: "asyncpg.Connection[asyncpg.Record]",
    forks_with_plugins: Forks,
) -> None:
    assert await run(forks_with_plugins, backends, choice) == SHOWN
    serializers = await connection.fetch(f"select distinct serializer from {schema}.history")
    seen = {
        "otel": bool(backends.otlp.spans),
        "sentry": bool(backends.transactions()),
        "results": bool(backends.stored),
        "encrypted": [row["serializer"] for row in serializers] == ["encrypted"],
        "webhook": bool(backends.webhooks.posted),
    }
    assert {name for name, here in seen.items() if here} == CHOICES[choice][0]
