"""No password goes to Sentry, whatever failed: neither Soniq's frames nor those of drivers bring
one along.
"""

import json
import os
import subprocess
import sys
from typing import Any

import asyncpg
import pytest
import sentry_sdk

from soniq import ConfigurationError, Soniq
from soniq_sentry import SentryPlugin
from tests.plugins.sentry.backend import Backend

PASSWORD = "hunter2-of-the-database"
URL = f"postgresql://shop:{PASSWORD}@127.0.0.1:1/shop"

LATE = f"""
import asyncio, json, sys
import asyncpg
from soniq import Soniq
from soniq_sentry import SentryPlugin

async def main():
    async with Soniq(discover=False, plugins=[SentryPlugin()]) as app:
        @app.job()
        async def job(): ...

        await app.enqueue(job)
        assert "sentry_sdk" not in sys.modules
        import sentry_sdk

        events = []
        class Transport(sentry_sdk.Transport):
            def capture_envelope(self, envelope):
                events.append(envelope.get_event())
        sentry_sdk.init("http://public@sentry.invalid/1", transport=Transport)

        await app.enqueue(job)
        try:
            await asyncpg.connect(dsn={URL!r})
        except OSError as error:
            sentry_sdk.capture_exception(error)
        print(json.dumps(events, default=repr))

asyncio.run(main())
"""


async def test_a_start_that_fails_sends_no_password(backend: Backend) -> None:
    await _reported(Soniq(URL, discover=False, plugins=[SentryPlugin()]))
    assert "DatabaseUnavailable" in json.dumps(backend.event)
    assert PASSWORD not in json.dumps(backend.event)


async def test_a_failed_connection_of_the_applications_own_sends_none(
    backend: Backend, app: Soniq
) -> None:
    async with app:
        try:
            await asyncpg.connect(dsn=URL)
        except OSError as error:
            sentry_sdk.capture_exception(error)
    frames = [
        frame for frame in _frames(backend) if (frame.get("module") or "").startswith("asyncpg")
    ]
    assert frames
    assert not any("vars" in frame for frame in frames)


def test_an_sdk_that_is_imported_after_the_start_sends_none(database_url: str, schema: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATE],
        env={**os.environ, "SONIQ_DATABASE_URL": database_url, "SONIQ_SCHEMA": schema},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ConnectionRefusedError" in done.stdout
    assert PASSWORD not in done.stdout


async def test_what_looks_at_each_event_is_added_once(backend: Backend, app: Soniq) -> None:
    for _ in range(3):
        await app.start()
        await app.close()
    assert len(sentry_sdk.get_global_scope()._event_processors) == 2


def test_an_error_about_a_dsn_has_it_in_no_variable() -> None:
    with pytest.raises(ConfigurationError) as told:
        SentryPlugin(dsn=f"https://{PASSWORD}@")
    trace = told.tb.tb_next
    while trace is not None:
        assert PASSWORD not in repr(trace.tb_frame.f_locals)
        trace = trace.tb_next


def _frames(backend: Backend) -> list[dict[str, Any]]:
    return [
        frame
        for each in backend.event["exception"]["values"]
        for frame in each["stacktrace"]["frames"]
    ]


async def _reported(app: Soniq) -> None:
    """Start an app as an application does that reports what fails; its own variables hold no
    password.
    """
    try:
        await app.start()
    except Exception as error:
        sentry_sdk.capture_exception(error)
    else:
        raise AssertionError("it started")
