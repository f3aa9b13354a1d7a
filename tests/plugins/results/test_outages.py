"""Stores behind a network that loses what is sent: each call ends in time, and the next one
works.
"""

import contextlib
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from soniq import Soniq
from soniq_results import StoreUnavailable
from tests.plugins.results.places import Place
from tests.plugins.results.support import AppWith, Run
from tests.support.proxy import Proxy

CALL = 1.0
"""Seconds that a call of the store may take."""
SPARE = 3.0
"""Seconds that a busy machine may take beyond."""

WHAT_IT_RETURNS = "result " * 100


@pytest.mark.parametrize("name", ["s3", "redis"])
@pytest.mark.parametrize("fault", ["lose", "darken", "cut"])
async def test_reading_and_storing_end_in_time_and_work_again(
    name: str,
    fault: str,
    request: pytest.FixtureRequest,
    app_with: AppWith,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place: Any = request.getfixturevalue(name)
    with _in_front_of(place) as proxy:
        if name == "s3":
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        app = app_with(_through(proxy, place), timeout=CALL, max_attempts=3)
        stored = (await run(app, _text(app)))["job_id"]
        getattr(proxy, fault)()
        began = time.monotonic()
        with contextlib.suppress(StoreUnavailable):  # one call at most fails
            assert await app.get_result(stored) == WHAT_IT_RETURNS
        assert time.monotonic() - began < CALL + SPARE
        if fault == "darken":
            proxy.restore()
        assert await app.get_result(stored) == WHAT_IT_RETURNS
        getattr(proxy, fault)()
        if fault == "darken":
            status = await run(app, app.registry["text"])
            assert status["error"] is not None
            assert status["error"]["type"].endswith("StoreUnavailable")
            proxy.restore()
        else:
            status = await run(app, app.registry["text"])
            assert status["status"] == "done"


def _text(app: Soniq) -> Any:
    @app.job(name="text", retry=0)
    async def text() -> str:
        return WHAT_IT_RETURNS

    return text


def _in_front_of(place: Any) -> Proxy:
    parts = urlsplit(getattr(place, "endpoint", place.url))
    assert parts.hostname is not None
    assert parts.port is not None
    return Proxy((parts.hostname, parts.port))


def _through(proxy: Proxy, place: Place) -> str:
    return proxy.url(place.url) if place.url.startswith("redis") else place.url
