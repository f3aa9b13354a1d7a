"""What the server refuses to touch, and what it says then."""

import fcntl
import os
from pathlib import Path

import pytest

from soniq import SoniqError
from soniq_embedded import EmbeddedServer, EmbeddedServerError

THROW_AWAY = {"fsync": "off"}


def snapshot(folder: Path) -> list[tuple[str, int, int, int]]:
    """All that is in a folder: names, modes, owners, times of change."""
    paths = sorted([folder, *folder.rglob("*")])
    return [
        (str(path), about.st_mode, about.st_uid, about.st_mtime_ns)
        for path in paths
        for about in [path.stat()]
    ]


def refusal(folder: Path) -> str:
    """The message with which a start is refused, after which nothing has changed."""
    before = snapshot(folder)
    with pytest.raises(EmbeddedServerError) as caught:
        EmbeddedServer(folder, timeout=5).start()
    assert snapshot(folder) == before
    assert isinstance(caught.value, SoniqError)
    assert caught.value.folder == folder
    assert str(folder) in str(caught.value)
    assert "SONIQ_EMBEDDED_FOLDER" in str(caught.value)
    return str(caught.value)


def test_another_major_version_is_refused(folder: Path) -> None:
    (folder / "pgdata/PG_VERSION").write_text("15\n")
    message = refusal(folder)
    assert "PostgreSQL 15" in message
    assert "PostgreSQL 18" in message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_data_of_another_owner_are_refused(folder: Path) -> None:
    os.chown(folder / "pgdata", 12345, 12345)
    assert "belong to uid 12345" in refusal(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter everything")
def test_a_folder_of_another_owner_is_refused() -> None:
    with pytest.raises(EmbeddedServerError, match="belong to root"):
        EmbeddedServer("/etc").start()


def test_a_data_folder_of_another_server_is_refused(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("18\n")
    assert "a folder of its own" in refusal(tmp_path)


@pytest.mark.skipif(
    os.geteuid() == 0, reason="root's server has an owner of its own, which is asked first"
)
def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pgdata").mkdir()
    (tmp_path / "pgdata/thesis.txt").touch()
    assert "no PostgreSQL data folder" in refusal(tmp_path)


def test_a_failed_start_shows_the_end_of_the_log(folder: Path) -> None:
    with pytest.raises(
        EmbeddedServerError, match='unrecognized configuration parameter "nonsense"'
    ) as caught:
        EmbeddedServer(folder, options={"nonsense": "1"}).start()
    assert str(folder / "server.log") in str(caught.value)
    with EmbeddedServer(folder, options=THROW_AWAY):
        pass


def test_waiting_for_another_process_has_a_limit(folder: Path) -> None:
    with (folder / "change.lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(
            EmbeddedServerError, match=r"has been starting or stopping .* for 0\.1 s"
        ):
            EmbeddedServer(folder, timeout=0.1).start()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedServerError, match="cannot start"):
        EmbeddedServer(tmp_path / "file/server").start()
