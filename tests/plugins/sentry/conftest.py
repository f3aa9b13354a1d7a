"""A Sentry of the test's own, in each mode of the installed SDK, and apps that send to it."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import sentry_sdk

from soniq import JobStatus, Soniq
from soniq_sentry import SentryPlugin
from tests.conftest import MakeApp
from tests.plugins.sentry.backend import MODES, Backend, Mode
from tests.support.jobs import run_job

DSN = "http://public@sentry.invalid/1"

Init = Callable[..., Backend]
Run = Callable[..., Awaitable[JobStatus]]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Mode:
    """The mode of the SDK: with transactions, or with streamed spans."""
    mode: Mode = request.param
    return mode


@pytest.fixture
def no_sentry() -> Iterator[None]:
    """No client before and after, and scopes as in a fresh process."""

    def reset() -> None:
        sentry_sdk.get_client().close()
        for scope in (
            sentry_sdk.get_global_scope(), sentry_sdk.get_isolation_scope(),
            sentry_sdk.get_current_scope()
        ):  # fmt: skip
            scope.set_client(None)
            scope.clear()

    reset()
    yield
    reset()


@pytest.fixture
def init(mode: Mode, no_sentry: None) -> Init:
    """Calls `sentry_sdk.init` as an application does, with a backend of its own; any option
    overrides.
    """

    def init(**options: Any) -> Backend:
        backend = Backend()
        defaults: dict[str, Any] = {
            "dsn": DSN, "transport": backend, "traces_sample_rate": 1.0,
            "auto_enabling_integrations": False,
        }  # fmt: skip
        if mode == "stream" and "static" in MODES:
            defaults["trace_lifecycle"] = "stream"
        sentry_sdk.init(**{**defaults, **options})
        return backend

    return init


@pytest.fixture
def backend(init: Init) -> Backend:
    """A backend, with tracing, and Sentry's defaults otherwise."""
    return init()


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    """An app with the plugin as it is when it is only installed."""
    return make_app(plugins=[SentryPlugin()])


@pytest.fixture
def run() -> Run:
    """Enqueues a job, works off all that is due, and says how the job stands then."""
    return run_job
