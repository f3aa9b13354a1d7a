"""Terminals in which `soniq top` runs, and the app that it looks at."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from soniq import Soniq
from soniq_dashboard import Dashboard
from tests.conftest import MakeApp

from .terminal import Terminal

OF_OTHERS = {"NO_COLOR", "COLUMNS", "LINES"}
"""What says something of the terminal in which the tests run."""

Open = Callable[..., Terminal]
"""Opens a terminal and runs `soniq top ...` in it; `url=`, `size=` and settings by name."""


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    """An app with the plugin, which may enqueue what it does not define."""
    return make_app(plugins=[Dashboard(interval=1)], unknown_jobs="allow")


@pytest.fixture
def open_top(tmp_path: Path, database_url: str, schema: str) -> Iterator[Open]:
    opened: list[Terminal] = []

    def make(
        *options: str,
        url: str = database_url,
        size: tuple[int, int] = (80, 24),
        **settings: str,
    ) -> Terminal:
        environment = {
            **{name: value for name, value in os.environ.items() if name not in OF_OTHERS},
            "SONIQ_DATABASE_URL": url,
            "SONIQ_SCHEMA": schema,
            "SONIQ_PLUGINS": "dashboard",
            "TERM": "xterm-256color",
            **settings,
        }
        command = [sys.executable, "-m", "soniq", "top", *options]
        opened.append(Terminal(command, tmp_path, environment, size))
        return opened[-1]

    yield make
    for terminal in opened:
        terminal.close()
