"""One process and its server: settings, paths, crashes."""

import os
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from soniq_embedded import EmbeddedServer
from tests.plugins.embedded.processes import fetch, is_alive, kill_server, postmaster_pid

THROW_AWAY = {"fsync": "off"}


async def test_a_server_runs_for_the_block_and_is_gone_afterwards(new_folder: Path) -> None:
    with EmbeddedServer(new_folder, options=THROW_AWAY) as server:
        pid = postmaster_pid(new_folder)
        assert pid
        version = await fetch(server.start(), "show server_version_num")
    assert str(version).startswith("18")
    assert not is_alive(pid)


async def test_it_listens_on_no_port(folder: Path) -> None:
    with EmbeddedServer(folder, options=THROW_AWAY):
        postmaster = psutil.Process(postmaster_pid(folder))
        assert postmaster.net_connections("inet") == []


async def test_commits_are_durable_unless_an_option_says_otherwise(folder: Path) -> None:
    both = "select current_setting('fsync') || ' ' || current_setting('synchronous_commit')"
    server = EmbeddedServer(folder)
    assert await fetch(server.start(), both) == "on on"
    server.stop()
    other = EmbeddedServer(folder, options={**THROW_AWAY, "synchronous_commit": "off"})
    assert await fetch(other.start(), both) == "off off"
    other.stop()


async def test_data_are_kept_from_one_start_to_the_next(folder: Path) -> None:
    server = EmbeddedServer(folder, options=THROW_AWAY)
    await fetch(server.start(), "create table kept as select 42 as answer")
    server.stop()
    assert await fetch(server.start(), "select answer from kept") == 42
    server.stop()
    server.stop()


async def test_the_clients_own_pg_variables_do_not_mislead_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "6543")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("LC_ALL", "xx_YY.UTF-8")
    with EmbeddedServer(folder, options=THROW_AWAY) as server:
        assert await fetch(server.start(), "select 1") == 1


@pytest.mark.parametrize(
    "name", ["with some spaces", "a 'quoted' \"name\" for $5, or `so`", "l" * 120, "ümläut"]
)
async def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    with EmbeddedServer(tmp_path / name / "server", options=THROW_AWAY) as server:
        url = server.start()
        sockets = Path(str(await fetch(url, "show unix_socket_directories")))
        assert sockets.stat().st_mode & 0o077 == 0
    assert not sockets.exists(), "a folder made for the socket goes with the server"


async def test_a_killed_server_recovers_at_the_next_start(folder: Path) -> None:
    server = EmbeddedServer(folder)
    await fetch(server.start(), "create table survived as select 42 as answer")
    killed = kill_server(folder)
    assert await fetch(server.start(), "select answer from survived") == 42
    assert postmaster_pid(folder) != killed
    server.stop()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "12",
        "no number\n",
        "-1\n",
        f"{10**30}\n",
        pytest.param(f"{os.getpid()}\n", id="own"),
        "1\n",
    ],
)
async def test_a_stale_or_half_written_pid_file_is_no_obstacle(folder: Path, content: str) -> None:
    server = EmbeddedServer(folder, options=THROW_AWAY)
    server.start()
    lock_of_the_socket = next((folder / "pgdata").glob(".s.PGSQL.*.lock"), None)
    server.stop()
    (folder / "pgdata/postmaster.pid").write_text(content)
    if lock_of_the_socket:
        lock_of_the_socket.write_text(content)
    assert await fetch(server.start(), "select 1") == 1
    server.stop()


async def test_a_data_folder_that_was_never_finished_is_made_anew(new_folder: Path) -> None:
    (new_folder / "pgdata.new-left_over/base").mkdir(parents=True)
    with EmbeddedServer(new_folder, options=THROW_AWAY) as server:
        assert await fetch(server.start(), "select 1") == 1
    assert not list(new_folder.glob("pgdata.new-*"))


def test_removing_the_folder_of_a_running_server_does_not_break_stop(
    folder: Path, tmp_path: Path
) -> None:
    server = EmbeddedServer(folder, options=THROW_AWAY)
    server.start()
    folder.rename(tmp_path / "moved")
    server.stop()
    kill_server(tmp_path / "moved")
