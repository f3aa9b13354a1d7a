"""Whom the server runs as, and what others may do."""

import os
import stat
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from soniq_embedded import EmbeddedServer
from tests.plugins.embedded.processes import fetch, postmaster_pid

THROW_AWAY = {"fsync": "off"}
AS_ROOT = os.geteuid() == 0


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A folder that only its owner may enter, with something in it for a server to be put
    beside.
    """
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "open").mkdir(mode=0o755)
    return closed


async def test_the_server_never_runs_as_root(new_folder: Path) -> None:
    with EmbeddedServer(new_folder, options=THROW_AWAY):
        postmaster = psutil.Process(postmaster_pid(new_folder))
        assert postmaster.uids().effective == (new_folder / "pgdata").stat().st_uid
        assert postmaster.uids().effective != 0
        assert 0 not in {
            *postmaster.gids(),
            *(os.getgrouplist("pgserver", postmaster.gids().real) if AS_ROOT else []),
        }


@pytest.mark.skipif(not AS_ROOT, reason="only root's server runs as another account")
async def test_root_lets_the_server_pass_through_a_closed_folder_and_no_more(closed: Path) -> None:
    with EmbeddedServer(closed / "open/server", options=THROW_AWAY) as server:
        assert await fetch(server.start(), "select 1") == 1
    assert mode(closed) == 0o701
    assert mode(closed / "open") == 0o755
    assert mode(closed / "open/server") == 0o711


@pytest.mark.skipif(AS_ROOT, reason="root's server needs to be let through")
async def test_an_ordinary_user_changes_no_permission(closed: Path) -> None:
    with EmbeddedServer(closed / "open/server", options=THROW_AWAY) as server:
        assert await fetch(server.start(), "select 1") == 1
    assert mode(closed) == 0o700
    assert mode(closed / "open/server") == 0o700


async def test_nobody_else_can_reach_the_socket_the_data_or_the_log(new_folder: Path) -> None:
    with EmbeddedServer(new_folder, options=THROW_AWAY):
        assert mode(new_folder / "pgdata") == 0o700
        assert mode(new_folder / "server.log") == 0o600
