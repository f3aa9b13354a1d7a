"""What soniq-otel adds to the dashboard."""

import re

import pytest
from opentelemetry.sdk.trace import TracerProvider

from soniq import ConfigurationError, Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.web import anyone
from soniq_otel import OtelPlugin
from tests.conftest import MakeApp
from tests.plugins.dashboard.web.conftest import Browse

TRACES = "https://traces.example/trace/{trace_id}?from=jobs"


def make(make_app: MakeApp, trace_url: str | None = None) -> Soniq:
    otel = OtelPlugin(tracer_provider=TracerProvider(), trace_url=trace_url)
    return make_app(plugins=[Dashboard(), otel], unknown_jobs="allow")


async def test_a_job_leads_to_its_trace(make_app: MakeApp, browse: Browse) -> None:
    app = make(make_app, TRACES)
    job_id = await app.enqueue("pay", args={})
    job = await app.get_job(job_id)
    assert job is not None
    trace_id = job["headers"]["otel"]["traceparent"].split("-")[1]

    page = await browse(app, anyone("see_arguments")).get(f"/jobs/{job_id}")
    address = TRACES.replace("{trace_id}", trace_id)
    assert f'href="{address}" rel="external noreferrer">Trace</a>' in page.text
    page = await browse(app, anyone()).get(f"/jobs/{job_id}")  # it is in the headers
    assert trace_id not in page.text


async def test_a_job_without_a_trace_leads_nowhere(
    make_app: MakeApp, browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = make_app(unknown_jobs="allow")
    job_id = await plain.enqueue("pay", args={})
    page = await browse(make(make_app, TRACES)).get(f"/jobs/{job_id}")
    assert "traces.example" not in page.text

    app = make(make_app)
    traced = await app.enqueue("pay", args={})
    page = await browse(app).get(f"/jobs/{traced}")
    assert not re.search(r"Trace</a>|in the log", page.text)
    monkeypatch.setenv("SONIQ_OTEL_TRACE_URL", "https://other.example/{trace_id}")
    page = await browse(make(make_app)).get(f"/jobs/{traced}")
    assert "https://other.example/" in page.text


@pytest.mark.parametrize(
    "address", ["traces/{trace_id}", "javascript:{trace_id}", "https://a.test/"]
)
def test_an_address_of_traces_that_cannot_be_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"an address with https:// and \{trace_id\}"):
        OtelPlugin(trace_url=address)
