"""Several processes and one server: who stops it, and when."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from soniq_embedded import EmbeddedServer
from tests.plugins.embedded.processes import (
    Peer,
    eventually,
    fetch,
    is_alive,
    kill_server,
    postmaster_pid,
)

MakePeer = Callable[[], Peer]


async def test_two_processes_share_one_server_and_the_last_one_stops_it(
    new_folder: Path, peers: MakePeer
) -> None:
    first, second = peers(), peers()
    url = first.start()
    pid = postmaster_pid(new_folder)
    assert second.start() == url
    assert postmaster_pid(new_folder) == pid
    first.do("server.stop()")
    assert await fetch(url, "select 1") == 1
    second.do("server.stop()")
    assert pid
    assert not is_alive(pid)


async def test_two_users_in_one_process_count_as_two(folder: Path) -> None:
    with EmbeddedServer(folder, options={"fsync": "off"}) as outer:
        with EmbeddedServer(folder):
            pass
        assert await fetch(outer.start(), "select 1") == 1
    assert postmaster_pid(folder) is None


async def test_a_killed_process_counts_as_gone(folder: Path, peers: MakePeer) -> None:
    killed, survivor = peers(), peers()
    killed.start()
    url = survivor.start()
    killed.kill()
    assert await fetch(url, "select 1") == 1
    survivor.do("server.stop()")
    assert postmaster_pid(folder) is None


async def test_a_server_whose_users_were_all_killed_is_joined_and_then_stopped(
    folder: Path, peers: MakePeer
) -> None:
    only = peers()
    only.start()
    pid = postmaster_pid(folder)
    only.kill()
    with EmbeddedServer(folder) as server:
        assert postmaster_pid(folder) == pid
        assert await fetch(server.start(), "select 1") == 1
    assert pid
    assert not is_alive(pid)


async def test_any_user_starts_a_killed_server_again_for_all(folder: Path, peers: MakePeer) -> None:
    first, second = peers(), peers()
    first.start()
    second.start()
    kill_server(folder)
    url = second.start()
    assert first.start() == url
    assert await fetch(url, "select 1") == 1
    second.do("server.stop()")
    assert await fetch(url, "select 1") == 1
    first.do("server.stop()")
    assert postmaster_pid(folder) is None


def test_a_process_that_ends_without_a_word_stops_the_server(folder: Path, peers: MakePeer) -> None:
    peer = peers()
    peer.start()
    pid = postmaster_pid(folder)
    assert peer.end() == 0
    assert pid
    assert not is_alive(pid)


@pytest.mark.parametrize("sign", ["pgdata.new-*", "pgdata/postmaster.pid", "change.lock"])
async def test_a_process_killed_while_it_starts_the_server_leaves_no_harm(
    new_folder: Path, peers: MakePeer, sign: str
) -> None:
    starter = peers()
    starter.say("server.start()")
    assert eventually(lambda: list(new_folder.glob(sign)))
    starter.kill()
    with EmbeddedServer(new_folder, options={"fsync": "off"}) as server:
        assert await fetch(server.start(), "select 1") == 1
    assert postmaster_pid(new_folder) is None


RACE = """
import asyncio, asyncpg, random, time
async def ask(url):
    connection = await asyncpg.connect(url)
    answer = await connection.fetchval("select 1")
    await connection.close()
    return answer
answers = 0
for _ in range(8):
    answers += asyncio.run(ask(server.start()))
    time.sleep(random.random() / 20)
    server.stop()
print(answers)
"""


def test_starting_and_stopping_do_not_race(new_folder: Path, peers: MakePeer) -> None:
    racers = [peers() for _ in range(4)]
    for racer in racers:
        racer.say(f"exec({RACE!r})")
    assert [racer.answer() for racer in racers] == ["8\n"] * 4
    for racer in racers:
        racer.end()
    assert postmaster_pid(new_folder) is None


FORK_THAT_ENDS = """
import os
child = os.fork()
if child == 0:
    sys.exit()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
FORK_THAT_STOPS = FORK_THAT_ENDS.replace("sys.exit()", "server.stop(); os._exit(0)")
FORK_THAT_JOINS = FORK_THAT_ENDS.replace("sys.exit()", "server.start(); server.stop(); os._exit(0)")


@pytest.mark.parametrize("fork", [FORK_THAT_ENDS, FORK_THAT_STOPS, FORK_THAT_JOINS])
async def test_a_forked_child_does_not_stop_its_parents_server(
    folder: Path, peers: MakePeer, fork: str
) -> None:
    parent = peers()
    url = parent.start()
    assert parent.do(f"exec({fork!r})").strip() == "0"
    assert await fetch(url, "select 1") == 1
    parent.do("server.stop()")
    assert postmaster_pid(folder) is None


def test_a_forked_child_that_lives_on_does_not_keep_the_server(
    folder: Path, peers: MakePeer
) -> None:
    parent = peers()
    parent.start()
    child = int(
        parent.do(
            "import os, time; ready, tell = os.pipe(); child = os.fork();"
            " child or (os.write(tell, b'.'), time.sleep(30), os._exit(0));"
            " os.read(ready, 1); print(child)"
        )
    )
    parent.kill()
    with EmbeddedServer(folder):
        pass
    assert postmaster_pid(folder) is None
    os.kill(child, 9)
