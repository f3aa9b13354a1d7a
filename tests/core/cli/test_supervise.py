"""`soniq worker` with several processes, with limits, and with queues that have a concurrency of
their own.
"""

import getpass
import os
import re
import signal
import socket

import pytest

from soniq import Soniq
from tests.support.waiting import eventually

from .conftest import Project, Running

# A process that is killed may leave one that has not ended yet
pytestmark = pytest.mark.new_schema


async def workers(app: Soniq) -> list[int]:
    """The processes of the live workers."""
    return [worker["pid"] for worker in (await app.overview())["workers"]]


@pytest.fixture
async def supervised(project: Project, producer: Soniq) -> Running:
    """A supervisor whose two workers work."""
    running = project.start("worker", "app:eq", "--processes", "2")

    async def two() -> bool:
        return len(set(await workers(producer))) == 2

    await eventually(two, 40)
    return running


async def test_so_many_processes_work_and_stop_with_the_supervisor(
    supervised: Running, producer: Soniq
) -> None:
    assert supervised.process.pid not in await workers(producer)
    ids = await producer.enqueue_many("add", [{"a": n, "b": 1} for n in range(5)])
    assert [await producer.wait_for(id_, 30) for id_ in ids] == [1, 2, 3, 4, 5]
    supervised.process.send_signal(signal.SIGTERM)
    assert supervised.end() == 0
    assert await workers(producer) == []


async def test_one_that_dies_is_replaced(supervised: Running, producer: Soniq) -> None:
    died = (await workers(producer))[0]
    os.kill(died, signal.SIGKILL)

    async def replaced() -> bool:
        return len(set(await workers(producer)) - {died}) == 2

    await eventually(replaced, 40)
    supervised.process.send_signal(signal.SIGTERM)
    assert supervised.end() == 0
    assert "(signal 9); starting another in its place" in supervised.errors


async def test_one_that_reaches_its_limit_is_replaced_and_no_job_is_lost(
    project: Project, producer: Soniq
) -> None:
    running = project.start("worker", "app:eq", "--processes", "2", "--max-jobs", "20")
    for _ in range(3):
        ids = await producer.enqueue_many("add", [{"a": n, "b": 1} for n in range(100)])
        for id_ in ids:
            await producer.wait_for(id_, 60)
    running.process.send_signal(signal.SIGTERM)
    assert running.end() == 0
    assert running.errors.count("(exit code 0); starting another in its place") >= 2


async def test_the_workers_of_a_supervisor_that_was_killed_stop(
    supervised: Running, producer: Soniq
) -> None:
    supervised.process.kill()

    async def none() -> bool:
        return not await workers(producer)

    await eventually(none, 40)


async def test_queues_may_have_a_concurrency_each(project: Project, producer: Soniq) -> None:
    ids = [
        await producer.enqueue("add", args={"a": 1, "b": 1}, queue=queue)
        for queue in ("media", "bills")
    ]
    done = project.soniq("worker", "app:eq", "--once", "--queues", "media:2, default:20")
    assert done.returncode == 0, done.stderr
    assert [await producer.get_result(id_) for id_ in ids] == [2, None]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--queues", "media:2,other"],
            "give each queue a concurrency, as in media:2,default:20, or none",
        ),
        (["--queues", "media:0"], "give each queue a concurrency"),
        (["--queues", "media:2", "--concurrency", "3"], "--queues gives each queue a concurrency"),
        (["--max-memory", "512"], "is not a size with a unit, as in 512M or 2G"),
        (["--processes", "2", "--once"], "--once runs in this process"),
    ],
)
def test_what_makes_no_sense_is_refused(project: Project, arguments: list[str], said: str) -> None:
    done = project.soniq("worker", "app:eq", *arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


async def test_a_pause_of_a_queue_that_never_had_a_job_is_noted(
    project: Project, producer: Soniq
) -> None:
    await producer.enqueue("add", a=1, b=1)
    done = project.soniq("pause", "default", "defualt")
    assert (done.returncode, done.stdout) == (0, "paused: default, defualt\n")
    assert done.stderr == "warning: queue 'defualt' is paused, and no job waits in it\n"
    assert list(project.json("status")["paused"]) == ["default", "defualt"]


async def test_pause_and_resume_say_in_json_what_they_did(
    project: Project, producer: Soniq
) -> None:
    for queue in ("mail", "media"):
        await producer.enqueue("add", a=1, b=1, queue=queue)
    assert project.json("pause", "mail", "media") == {"paused": ["mail", "media"]}
    assert project.json("resume", "mail") == {"resumed": ["mail"]}
    assert list(project.json("status")["paused"]) == ["media"]


async def test_who_paused_a_queue_and_why_is_kept_until_it_is_resumed(
    project: Project, producer: Soniq
) -> None:
    project.soniq("pause", "media", "mail", "--reason", "the provider is down")
    me = f"{getpass.getuser()}@{socket.gethostname()}"
    paused = project.json("status")["paused"]
    assert [(queue, each["by"], each["reason"]) for queue, each in paused.items()] == [
        ("mail", me, "the provider is down"), ("media", me, "the provider is down"),
    ]  # fmt: skip
    said = project.soniq("status").stdout
    assert re.search(rf"paused: mail, since 2\d{{3}}-.* by {me}: the provider is down\n", said)
    project.soniq("resume", "mail")
    project.soniq("pause", "mail", "--by", "Eva")
    again = project.json("status")["paused"]["mail"]
    assert (again["by"], again["reason"]) == ("Eva", None)


async def test_queues_are_paused_and_resumed(project: Project, producer: Soniq) -> None:
    job_id = await producer.enqueue("add", a=1, b=1)
    assert project.soniq("pause", "default").stdout == "paused: default\n"
    assert "paused: default" in project.soniq("status").stdout
    project.soniq("worker", "app:eq", "--once")
    assert await producer.get_result(job_id) is None
    assert project.soniq("resume", "default").stdout == "resumed: default\n"
    assert "paused" not in project.soniq("status").stdout
    project.soniq("worker", "app:eq", "--once")
    assert await producer.get_result(job_id) == 2
