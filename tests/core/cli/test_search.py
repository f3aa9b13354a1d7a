"""`soniq jobs` with the options of a search."""

from uuid import UUID

import asyncpg
import pytest

from soniq import Soniq

from .conftest import Project


async def test_jobs_are_searched_for_by_what_is_in_them(
    project: Project, producer: Soniq, schema: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    add = await producer.enqueue("add", args={"a": 7, "b": 1}, headers={"trace": "x1"}, priority=2)
    nested = await producer.enqueue("pay", args={"order": {"id": 7, "what": "tea"}}, dedup_key="k")
    failed = await producer.enqueue("fail", max_attempts=1)
    project.soniq("worker", "app:eq", "--once", "--queues", "default")
    worker = await connection.fetchval(
        f"select worker_id from {schema}.history where id = $1", UUID(failed)
    )

    def found(*options: str) -> list[str]:
        page = project.json("jobs", *options)
        assert page["complete"]
        return [job["job_id"] for job in page["jobs"]]

    assert found("--args", "a=7") == [add]
    assert found("--args", "a=7", "--args", "b=2") == []
    assert found("--args", "order.id=7", "--args", "order.what=tea") == [nested]
    assert found("--args", 'order.what="tea"') == [nested]
    assert found("--args-text", "tea") == [nested]
    assert found("--error", "ValueError") == [failed]
    assert found("--error-text", "is blown", "--order", "finished") == [failed]
    assert found("--header", "trace=x1") == [add]
    assert found("--name-prefix", "pa") == [nested]
    assert found("--priority", "2", "--priority", "3") == [add]
    assert found("--key", "k") == [nested]
    assert found("--worker", str(worker), "--status", "dead") == [failed]
    assert found("--finished", "1h..", "--status", "dead") == [failed]
    assert found("--finished", "..1h") == []
    assert found("--created", "2d..1h") == []
    assert found("--created", "1h", "--queue", "default", "--name", "pay") == [nested]


async def test_pages_follow_each_other_by_the_cursor_that_each_names(
    project: Project, producer: Soniq
) -> None:
    ids = [await producer.enqueue("add", args={"a": 1, "b": 1}) for _ in range(5)]
    listed: list[str] = []
    cursor: list[str] = []
    for _ in range(5):
        lines = project.soniq("jobs", "--order", "newest", "--limit", "2", *cursor).stdout
        listed += [line.split()[0] for line in lines.splitlines() if " queued " in line]
        if "--cursor" not in lines:
            break
        cursor = lines.split()[-2:]
    assert listed == ids[::-1]
    page = project.json("jobs", "--order", "due")
    assert (set(page), page["next"]) == (
        {"jobs", "next", "previous", "complete", "looked_back_to"},
        None,
    )
    assert set(page["jobs"][0]) == {
        "job_id", "job_name", "status", "queue", "priority", "attempt", "max_attempts",
        "created_at", "scheduled_at", "started_at", "finished_at", "worker_id", "tags", "held_by",
        "error_type", "error_message",
    }  # fmt: skip


async def test_an_error_takes_one_line(project: Project, producer: Soniq) -> None:
    await producer.enqueue("fail", max_attempts=1)
    project.soniq("worker", "app:eq", "--once")
    lines = project.soniq("jobs", "--error", "ValueError").stdout.splitlines()
    assert len(lines) == 2
    assert lines[1].endswith("  ValueError: the \\x1b[31mfuse is blown")
    assert project.soniq("jobs", "--error", "KeyError").stdout == "no job matches\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--args", "customer"], "not of the form name=value"),
        (["--args", "a=1", "--args", "a.b=1"], "has a value already"),
        (["--args", "=1"], "not of the form name=value"),
        (["--args", "a.b=1", "--args", "a=1"], "has a value already"),
        (["--args", "a=1", "--args", "a=2"], "has a value already"),
        (["--finished", "yesterday.."], "neither a duration"),
        (["--worker", "me"], "a job id is a UUID"),
        (["--order", "random"], "is not one of"),
        (["--order", "due", "--since", "1h"], "goes neither with --since"),
    ],
)
def test_what_cannot_be_searched_for_is_wrong_usage(
    project: Project, options: list[str], said: str
) -> None:
    done = project.soniq("jobs", *options)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


def test_a_cursor_of_something_else_is_an_error(project: Project, producer: Soniq) -> None:
    done = project.soniq("jobs", "--cursor", "x")
    assert done.returncode == 2
    assert "cursor=" in done.stderr
