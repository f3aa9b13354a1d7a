"""Throw-away folders, and other processes that use the server in them."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.plugins.embedded.processes import Peer, eventually, is_alive, postmaster_pid


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for a server, which must be stopped when the test is over."""
    folder = tmp_path / "server"
    yield folder
    pid = postmaster_pid(folder)
    if pid is not None:
        os.kill(pid, signal.SIGQUIT)
        eventually(lambda: not is_alive(pid))
    assert pid is None, "the test has left its server running"


@pytest.fixture
def peers(folder: Path) -> Iterator[Callable[[], Peer]]:
    """Makes other processes that use the server in `folder`."""
    made: list[Peer] = []

    def make() -> Peer:
        made.append(Peer(folder))
        return made[-1]

    yield make
    for peer in made:
        if peer.process.poll() is None:
            peer.kill()


@pytest.fixture(autouse=True)
def the_users_data_stay_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("SONIQ_EMBEDDED_FOLDER", raising=False)
