"""An app behind a network that can be made to fail."""

import pytest

from soniq import Soniq
from tests.conftest import MakeApp
from tests.support.proxy import Proxy

COMMAND = 1.0
"""Seconds that a statement of these apps may take."""


@pytest.fixture
def far_app(make_app: MakeApp, proxy: Proxy, database_url: str) -> Soniq:
    """An app that reaches its database through the proxy, and waits for an answer for a second."""
    return make_app(
        database_url=proxy.url(database_url),
        command_timeout=COMMAND,
        connect_timeout=COMMAND,
        lease=3,
        grace=1,
    )
