"""`soniq retry --all` and `soniq cancel --all`: a count, a question, and what became of it."""

import os
import pty
import subprocess
import sys
from datetime import timedelta

import pytest

from soniq import Soniq

from .conftest import LIMIT, Project


def answered(project: Project, answer: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command at a terminal, where someone answers its question."""
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    try:
        return subprocess.run(
            [sys.executable, "-m", "soniq", *arguments], cwd=project.folder,
            env=project.environment, stdin=theirs, capture_output=True, text=True, timeout=LIMIT,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)


async def dead_jobs(project: Project, producer: Soniq) -> None:
    """Three dead jobs, of which two are in the queue of mail."""
    for queue in ("mail", "mail", "default"):
        await producer.enqueue("fail", max_attempts=1, queue=queue)
    project.soniq("worker", "app:eq", "--once")


async def by_status(producer: Soniq) -> dict[str, int]:
    counts: dict[str, int] = {}
    for job in await producer.jobs():
        counts[job["status"]] = counts.get(job["status"], 0) + 1
    return counts


async def test_retry_all_counts_asks_and_queues(project: Project, producer: Soniq) -> None:
    await dead_jobs(project, producer)
    retry = ["retry", "--status", "dead", "--name", "fail", "--queue", "mail", "--all"]
    no = answered(project, "n", *retry)
    assert no.returncode == 1
    assert "queue again 2 dead jobs? [y/N]" in no.stderr
    assert await by_status(producer) == {"dead": 3}
    yes = answered(project, "y", *retry)
    assert (yes.returncode, yes.stdout) == (0, "queued 2 jobs again\n")
    assert await by_status(producer) == {"dead": 1, "queued": 2}


async def test_where_no_one_can_answer_all_needs_a_yes(project: Project, producer: Soniq) -> None:
    await dead_jobs(project, producer)
    for command in ("retry", "cancel"):
        done = project.soniq(command, "--all")
        assert done.returncode == 2
        assert "where no one can answer, add --yes" in done.stderr
    assert await by_status(producer) == {"dead": 3}
    assert project.json("retry", "--all", "--yes", "--queue", "default") == {
        "queued": 1,
        "left": {},
    }
    assert (
        project.soniq("retry", "--all", "--yes", "--name", "fail").stdout == "queued 2 jobs again\n"
    )
    assert project.soniq("retry", "--all", "--yes").stdout == "queued 0 jobs again\n"


async def test_retry_all_tells_which_jobs_stay_dead(project: Project, producer: Soniq) -> None:
    dead = await producer.enqueue("fail", max_attempts=1, dedup_key="only-one")
    project.soniq("worker", "app:eq", "--once")
    holder = await producer.enqueue("fail", max_attempts=1, dedup_key="only-one")
    done = project.soniq("retry", "--all", "--yes")
    assert (done.returncode, done.stdout) == (3, "queued 0 jobs again\n")
    assert (
        done.stderr
        == f"error: job {dead} is still dead: {holder} holds its dedup key and is not finished\n"
    )


async def test_retry_all_queues_cancelled_jobs_where_they_are_meant(
    project: Project, producer: Soniq
) -> None:
    cancelled = await producer.enqueue("fail", dedup_key="only-one")
    await producer.cancel(cancelled)
    holder = await producer.enqueue("fail", dedup_key="only-one", delay=60)
    done = project.soniq("retry", "--all", "--yes", "--status", "cancelled")
    assert (done.returncode, done.stdout) == (3, "queued 0 jobs again\n")
    assert (
        done.stderr
        == f"error: job {cancelled} is still cancelled: {holder} holds its dedup key and is not"
        " finished\n"
    )
    project.soniq("cancel", holder)
    yes = answered(project, "y", "retry", "--all", "--status", "cancelled")
    assert "queue again 2 cancelled jobs? [y/N]" in yes.stderr
    assert await by_status(producer) == {"queued": 1, "cancelled": 1}


async def test_retry_all_counts_what_is_queued_for_later_and_makes_it_due(
    project: Project, producer: Soniq
) -> None:
    await producer.enqueue_many("fail", [{}] * 2, delay=3600)
    await producer.enqueue("fail")
    yes = answered(project, "y", "retry", "--all", "--status", "queued")
    assert (yes.returncode, yes.stdout) == (0, "made 2 jobs due now\n")
    assert "make due now 2 queued jobs? [y/N]" in yes.stderr
    assert (await producer.backlog())["default"]["waiting"] == 3
    assert (
        project.soniq("retry", "--all", "--yes", "--status", "queued").stdout
        == "made 0 jobs due now\n"
    )


async def test_cancel_all_counts_asks_and_cancels_what_waits(
    project: Project, producer: Soniq
) -> None:
    for tag in ("red", "red", "blue"):
        await producer.enqueue("fail", tags=[tag])
    done = answered(project, "y", "cancel", "--all", "--tag", "red", "--reason", "withdrawn")
    assert (done.returncode, done.stdout) == (0, "cancelled 2 jobs\n")
    assert "cancel 2 queued jobs? [y/N]" in done.stderr
    assert await by_status(producer) == {"cancelled": 2, "queued": 1}
    assert project.json("cancel", "--all", "--yes", "--status", "held") == {"cancelled": 0}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["retry", "--status", "queued"], "made 2 jobs due now\n"),
        (["cancel"], "cancelled 2 jobs\n"),
        (["delete", "--name", "fail"], "forgot 2 jobs\n"),
    ],
)
async def test_a_limit_is_for_the_newest_and_the_question_says_so(
    project: Project, producer: Soniq, command: list[str], said: str
) -> None:
    ids = await producer.enqueue_many("fail", [{}] * 3, delay=3600)
    yes = answered(project, "y", *command, "--all", "--limit", "2")
    assert (yes.returncode, yes.stdout) == (0, said)
    assert " the newest 2 of 3 " in yes.stderr
    later = (await producer.backlog())["default"]["scheduled"]
    assert later == 1
    oldest = await producer.get_job_status(ids[0])
    assert oldest is not None
    assert oldest["scheduled_at"] > oldest["created_at"] + timedelta(minutes=30)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name the jobs by their ids, or say --all"),
        (
            ["--all", "01900000-0000-7000-8000-000000000000"],
            "name the jobs by their ids, or say --all",
        ),
        (["--yes", "01900000-0000-7000-8000-000000000000"], "go with --all"),
        (["--limit", "2", "01900000-0000-7000-8000-000000000000"], "go with --all"),
        (["--all", "--limit", "0"], "Invalid value for '--limit'"),
        (["--all", "--status", "done"], "Invalid value for '--status'"),
    ],
)
@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_wrong_usage_is_told(
    project: Project, command: str, arguments: list[str], said: str
) -> None:
    done = project.soniq(command, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
