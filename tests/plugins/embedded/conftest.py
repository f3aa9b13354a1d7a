"""Throw-away folders, and other processes that use the server in them."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from soniq_embedded import EmbeddedServer
from tests.plugins.embedded.processes import Peer, eventually, is_alive, postmaster_pid


@pytest.fixture(scope="session")
def used_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a server has been: making the data takes a second of the processor."""
    folder = tmp_path_factory.mktemp("used") / "server"
    with EmbeddedServer(folder, options={"fsync": "off"}):
        pass
    return folder


@pytest.fixture
def new_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for a server, not there yet; the server must be stopped when the test is over."""
    folder = tmp_path / "server"
    yield folder
    pid = postmaster_pid(folder)
    if pid is not None:
        os.kill(pid, signal.SIGQUIT)
        eventually(lambda: not is_alive(pid))
    assert pid is None, "the test has left its server running"


@pytest.fixture
def folder(new_folder: Path, used_once: Path) -> Path:
    """A folder in which a server has been; this one's must be stopped when the test is over."""
    subprocess.run(["cp", "-a", str(used_once), str(new_folder)], check=True, timeout=60)
    return new_folder


@pytest.fixture
def peers(new_folder: Path) -> Iterator[Callable[[], Peer]]:
    """Makes other processes that use the server in the folder."""
    made: list[Peer] = []

    def make() -> Peer:
        made.append(Peer(new_folder))
        return made[-1]

    yield make
    for peer in made:
        if peer.process.poll() is None:
            peer.kill()


@pytest.fixture(autouse=True)
def the_users_data_stay_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("SONIQ_EMBEDDED_FOLDER", raising=False)
