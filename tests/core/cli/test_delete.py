"""`soniq delete`, `soniq retry` with changes, and what `soniq inspect` shows of a job's attempts."""

import getpass
import re
import socket

import pytest

from soniq import Soniq

from .conftest import Project

MISSING = "01900000-0000-7000-8000-000000000000"


async def test_jobs_are_deleted_by_their_ids(project: Project, producer: Soniq) -> None:
    one = await producer.enqueue("add", args={"a": 1, "b": 1}, delay=60)
    two = await producer.enqueue("add", args={"a": 1, "b": 1})
    done = project.soniq("delete", one, MISSING)
    assert done.returncode == 3
    assert done.stdout == f"{one}  deleted\n"
    assert done.stderr == f"error: no job has the id {MISSING}\n"
    assert [job["job_id"] for job in await producer.jobs()] == [two]


async def test_all_that_match_are_deleted_after_a_question_or_yes(
    project: Project, producer: Soniq
) -> None:
    await producer.enqueue_many("add", [{"a": 1, "b": 1}] * 3, tags=["customer-7"])
    other = await producer.enqueue("add", args={"a": 1, "b": 1})
    assert project.soniq("delete", "--all", "--tag", "customer-7").returncode == 2
    assert project.soniq("delete", "--all", "--yes").returncode == 2, "nothing says which"
    assert (
        project.soniq("delete", "--all", "--tag", "customer-7", "--yes").stdout == "forgot 3 jobs\n"
    )
    assert project.json("delete", "--all", "--status", "dead", "--yes") == {
        "deleted": 0,
        "left": {},
    }
    assert [job["job_id"] for job in await producer.jobs()] == [other]


async def test_a_job_that_runs_is_told_and_stays(project: Project, producer: Soniq) -> None:
    job_id = await producer.enqueue("wait_for_file", args={"path": "never"})
    project.start("worker", "app:eq").printed("waiting")
    for arguments in ([job_id], ["--all", "--name", "wait_for_file", "--yes"]):
        done = project.soniq("delete", *arguments)
        assert done.returncode == 3
        assert f"job {job_id}" in done.stderr
        assert "runs" in done.stderr
    await producer.cancel(job_id)


async def test_a_job_is_retried_with_changes(project: Project, producer: Soniq) -> None:
    job_id = await producer.enqueue("fail", max_attempts=1)
    project.soniq("worker", "app:eq", "--once", "--log-level", "error")
    changes = [
        "--to-queue",
        "rescue",
        "--priority",
        "-2",
        "--max-attempts",
        "4",
        "--timeout",
        "30s",
        "--delay",
        "1h",
    ]
    assert project.soniq("retry", job_id, *changes).stdout == f"{job_id}  queued\n"
    status = await producer.get_job_status(job_id)
    assert status is not None
    assert (status["queue"], status["priority"], status["max_attempts"]) == ("rescue", -2, 4)
    assert (status["scheduled_at"] - status["created_at"]).total_seconds() > 3000


@pytest.mark.parametrize("changes", [["--max-attempts", "0"], ["--priority", "x"]])
async def test_changes_that_cannot_be_change_nothing(
    project: Project, producer: Soniq, changes: list[str]
) -> None:
    job_id = await producer.enqueue("fail", delay=60)
    assert project.soniq("retry", job_id, *changes).returncode == 2
    assert project.soniq("retry", "--all", "--yes", "--to-queue", "a").returncode == 2
    status = await producer.get_job_status(job_id)
    assert status is not None
    assert status["max_attempts"] == 5


async def test_inspect_shows_the_attempts_as_a_table_and_who_retried(
    project: Project, producer: Soniq
) -> None:
    job_id = await producer.enqueue("fail", max_attempts=1)
    project.soniq("worker", "app:eq", "--once", "--log-level", "error")
    project.soniq("retry", job_id)
    project.soniq("worker", "app:eq", "--once", "--log-level", "error")
    project.soniq("retry", "--all", "--yes")
    me = f"{getpass.getuser()}@{socket.gethostname()}"
    table = project.soniq("inspect", job_id).stdout.partition("\n\n")[2].splitlines()
    assert table[0].split() == ["ATTEMPT", "KIND", "AT", "TOOK", "WORKER", "ERROR"]
    assert [line.split()[:2] for line in table[1:]] == [
        ["1", "dead"], ["-", "retried"], ["1", "dead"], ["-", "retried"],
    ]  # fmt: skip
    assert re.search(r"0\.\d{3} s  [0-9a-f-]{36}  ValueError: ", table[1])
    assert re.search(rf" -  +{me} +-$", table[2])
    attempts = project.json("inspect", job_id)["attempts"]
    assert [each["by"] for each in attempts] == [None, me, None, me]


async def test_inspect_shows_no_table_where_there_was_no_such_attempt(
    project: Project, producer: Soniq
) -> None:
    job_id = await producer.enqueue("add", args={"a": 1, "b": 1})
    shown = project.soniq("inspect", job_id).stdout
    assert "ATTEMPT" not in shown
