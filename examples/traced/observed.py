"""The application of `app.py`, with the SDKs of OpenTelemetry and Sentry set up, where they are
installed.

    soniq worker examples.traced.observed:eq
    python -m examples.traced.observed

The SDKs are told where to send by variables of their own: OTEL_EXPORTER_OTLP_ENDPOINT, SENTRY_DSN.
It is the plugins soniq-otel and soniq-sentry that tell the SDKs of jobs.
"""

import asyncio
import os

from examples.traced.app import eq, main

__all__ = ["eq"]


def set_up_opentelemetry() -> None:
    """Send spans in batches; what is left goes out when the process ends."""
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        return
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)


def set_up_sentry() -> None:
    """Report errors and traces."""
    try:
        import sentry_sdk
    except ImportError:
        return
    if os.environ.get("SENTRY_DSN"):
        sentry_sdk.init(traces_sample_rate=1.0)


set_up_opentelemetry()
set_up_sentry()

if __name__ == "__main__":
    asyncio.run(main())
