"""A backend, and apps whose plugin reports to it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from soniq import Soniq
from soniq_otel import OtelPlugin
from tests.conftest import MakeApp

from .backend import Backend, MakeBackend, backends


@pytest.fixture
def make_backend() -> Iterator[MakeBackend]:
    """Makes backends that listen on loopback."""
    with backends() as make:
        yield make


@pytest.fixture
def backend(make_backend: MakeBackend) -> Backend:
    """A backend that listens on loopback."""
    return make_backend()


@pytest.fixture
def traced(make_app: MakeApp, backend: Backend) -> Callable[..., Soniq]:
    """Makes apps that report to the backend; keywords are options of the plugin."""

    def traced(*plugins: object, settings: dict[str, Any] | None = None, **options: Any) -> Soniq:
        given = {
            "tracer_provider": backend.tracer_provider,
            "meter_provider": backend.meter_provider,
        }
        return make_app(plugins=[OtelPlugin(**{**given, **options}), *plugins], **settings or {})

    return traced


@pytest.fixture
def app(traced: Callable[..., Soniq]) -> Soniq:
    """One app that reports to the backend."""
    return traced()
