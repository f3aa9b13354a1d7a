"""`soniq enqueue`: a job by its name, with its arguments as JSON."""

import subprocess
import sys

import pytest

from soniq import Soniq

from .conftest import LIMIT, Project


async def test_a_job_is_enqueued_with_its_arguments_as_json(
    project: Project, producer: Soniq
) -> None:
    done = project.soniq("enqueue", "add", '{"a": 1, "b": 2}')
    assert (done.returncode, done.stderr) == (0, "")
    project.soniq("worker", "app:eq", "--once")
    assert await producer.get_result(done.stdout.strip()) == 3


async def test_with_an_app_the_arguments_are_what_the_job_declares(
    project: Project, producer: Soniq
) -> None:
    done = project.soniq("enqueue", "--app", "app:eq", "bill", '{"due": "2030-01-31"}')
    assert done.returncode == 0, done.stderr
    project.soniq("worker", "app:eq", "--once")
    assert await producer.get_result(done.stdout.strip()) == {
        "due": "2030-01-31",
        "lines": ["one", "two"],
    }


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("ad", "{}", "no job named 'ad' is defined in this app; did you mean 'add'?"),
        ("add", '{"a": 1}', "add: these are not its arguments: Object missing required field `b`"),
        ("add", '{"a": 1, "b": "x"}', "Expected `int`, got `str` - at `$.b`"),
        ("bill", '{"due": "soon"}', "bill: these are not its arguments: "),
    ],
)
async def test_with_an_app_what_the_job_does_not_take_is_an_error(
    project: Project, producer: Soniq, name: str, arguments: str, said: str
) -> None:
    done = project.soniq("enqueue", "--app", "app:eq", name, arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert await producer.jobs() == []


@pytest.mark.parametrize("wrong", ["[1]", "{a: 1}", "1", '{"a": '])
async def test_arguments_that_are_no_json_object_are_wrong_usage(
    project: Project, producer: Soniq, wrong: str
) -> None:
    done = project.soniq("enqueue", "add", wrong)
    assert done.returncode == 2
    assert await producer.jobs() == []


async def test_arguments_can_come_from_stdin(project: Project, producer: Soniq) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "soniq", "enqueue", "add", "-"], input='{"a": 2, "b": 2}',
        check=True, cwd=project.folder, env=project.environment, capture_output=True, text=True,
        timeout=LIMIT,
    )  # fmt: skip
    assert await producer.get_args(done.stdout.strip()) == {"a": 2, "b": 2}


async def test_the_options_are_those_of_an_enqueue(project: Project, producer: Soniq) -> None:
    options = [
        "--queue", "sums", "--priority", "-3", "--delay", "1h", "--max-attempts", "2", "--timeout",
        "30s", "--keep", "2d", "--expires", "3h", "--tag", "red", "--tag", "blue", "--header",
        "tenant=acme", "--dedup-key", "k",
    ]  # fmt: skip
    told = project.json("enqueue", "add", '{"a": 1, "b": 2}', *options)
    assert told["inserted"] is True
    async with producer.connection() as connection:
        row = await connection.fetchrow(
            "select queue, priority, max_attempts, timeout, keep, tags, headers ->> 'tenant' as"
            " tenant, dedup_key, extract(epoch from scheduled_at - created_at)::int as delay,"
            " extract(epoch from expires_at - created_at)::int as expires from"
            f" {producer.settings.schema}.job where id = $1",
            told["job_id"],
        )
    assert row is not None
    assert dict(row) == {
        "queue": "sums", "priority": -3, "max_attempts": 2, "timeout": 30, "keep": 172_800,
        "tags": ["red", "blue"], "tenant": "acme", "dedup_key": "k", "delay": 3600,
        "expires": 10_800,
    }  # fmt: skip
    again = project.soniq("enqueue", "add", '{"a": 1, "b": 2}', *options)
    assert again.stdout.strip() == told["job_id"]
    assert "is there already" in again.stderr


async def test_a_time_to_run_at_needs_its_zone(project: Project, producer: Soniq) -> None:
    done = project.soniq("enqueue", "add", '{"a": 1, "b": 2}', "--at", "2030-01-31T08:00:00+00:00")
    (job,) = await producer.jobs()
    assert (done.stdout.strip(), job["scheduled_at"].isoformat()) == (
        job["job_id"],
        "2030-01-31T08:00:00+00:00",
    )
    assert project.soniq("enqueue", "add", "{}", "--at", "2030-01-31T08:00:00").returncode == 2
    assert project.soniq("enqueue", "add", "{}", "--header", "tenant").returncode == 2
