"""The commands that look at jobs and do something to them."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from soniq import Soniq

from .conftest import Project

MISSING = "01900000-0000-7000-8000-000000000000"


async def test_status_shows_counts_the_workers_and_names_that_nobody_knows(
    project: Project, producer: Soniq
) -> None:
    assert project.soniq("status").stdout == "no jobs\n\nno live worker\n"
    await producer.enqueue_many("add", [{"a": 1, "b": 1}] * 2, queue="sums", delay=3600)
    await producer.enqueue("unheard_of", queue="other")
    worker = project.start("worker", "app:eq", "--queues", "sums,totals", "--concurrency", "3")
    worker.logged("started")
    shown = project.soniq("status").stdout.splitlines()
    assert shown[0].split() == [
        "QUEUE",
        "WAITING",
        "SCHEDULED",
        "HELD",
        "RUNNING",
        "DONE",
        "DEAD",
        "CANCELLED",
    ]
    assert [line.split() for line in shown[1:3]] == [["other", *"1000000"], ["sums", *"0200000"]]
    assert f" {worker.process.pid} " in shown[5]
    assert shown[-3].startswith("oldest waiting job: ")
    assert shown[-2] == "no live worker knows 'unheard_of': 1 job waits"

    found = project.json("status")
    assert found["queues"] == {"other": {"queued": 1}, "sums": {"queued": 2}}
    assert found["backlog"].pop("other").pop("oldest_waiting") > 0
    assert found["backlog"] == {
        "sums": {"waiting": 0, "scheduled": 2, "running": 0, "held": 0, "oldest_waiting": 0.0}
    }
    assert found["unknown_names"] == {"unheard_of": 1}
    assert found["oldest_waiting"]["job_name"] == "unheard_of"
    (live,) = found["workers"]
    assert (live["pid"], live["concurrency"], live["queues"]) == (
        worker.process.pid,
        3,
        ["sums", "totals"],
    )
    assert datetime.fromisoformat(live["started_at"]).tzinfo is not None


async def test_status_shows_queues_with_due_jobs_that_no_live_worker_serves(
    project: Project, producer: Soniq
) -> None:
    await producer.enqueue("add", args={"a": 1, "b": 1}, queue="mail")
    await producer.enqueue("add", args={"a": 1, "b": 1}, queue="later", delay=3600)
    await producer.enqueue("add", args={"a": 1, "b": 1}, queue="sums")
    await producer.pause("sums")
    assert project.json("status")["unserved_queues"] == {}, (
        "no worker lives, and that is said already"
    )
    picky = project.start("worker", "app:eq", "--queues", "sums")
    picky.logged("started")
    assert (
        project.soniq("status").stdout.splitlines()[-1]
        == "no live worker serves queue 'mail': 1 job waits"
    )
    assert project.json("status")["unserved_queues"] == {"mail": 1}
    await producer.pause("mail")
    project.start("worker", "app:eq").logged("started")
    assert project.json("status")["unserved_queues"] == {}


async def test_status_ends_with_a_code_of_its_own_where_a_job_has_waited_for_too_long(
    project: Project, producer: Soniq, schema: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await producer.enqueue("add", args={"a": 1, "b": 1}, queue="late")
    await connection.execute(f"update {schema}.job set scheduled_at = now() - interval '1 hour'")
    await producer.enqueue("add", args={"a": 1, "b": 1}, queue="fresh")
    await producer.enqueue("add", args={"a": 1, "b": 1}, queue="scheduled", delay=3600)
    late = project.soniq("status", "--max-wait", "3000")
    assert late.returncode == 5
    assert re.fullmatch(r"error: a job of queue 'late' has been due for 36\d\d s\n", late.stderr)
    assert late.stdout.startswith("QUEUE ")
    assert (
        json.loads(project.soniq("status", "--max-wait", "3000", "--json").stdout)["backlog"][
            "late"
        ]["waiting"]
        == 1
    )
    assert project.soniq("status", "--max-wait", "86400").returncode == 0
    await producer.pause("late")
    paused = project.soniq("status", "--max-wait", "3000")
    assert (paused.returncode, paused.stderr) == (0, "")


async def test_status_says_where_there_are_more_jobs_than_are_counted(
    project: Project, producer: Soniq, schema: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await producer.start()
    for status, count in (("running", 10), ("queued", 20_500)):
        await connection.execute(
            f"insert into {schema}.job (id, name, queue, max_attempts, serializer, keep, args, status,"
            f" started_at) select {schema}.new_id_1(), 'unheard of', 'bulk', 5, 'json', 60, '', $1,"
            " now() from generate_series(1, $2) n",
            status,
            count,
        )
    project.start("worker", "app:eq", "--queues", "sums").logged("started")
    shown = project.soniq("status").stdout.splitlines()
    assert shown[1].split() == ["bulk", "20000+", "0", "0+", "10+", "0", "0", "0"]
    assert shown[2] == "10000+ is 10000 or more: there are more jobs than are counted here"
    assert shown[-2:] == [
        "no live worker knows 'unheard of': 2000 or more jobs wait",
        "no live worker serves queue 'bulk': 20000 or more jobs wait",
    ]
    found = project.json("status")
    assert found["at_least"] == {"bulk": ["held", "queued", "running", "waiting"]}
    assert found["queues"] == {"bulk": {"queued": 20_000, "running": 10}}


@pytest.mark.parametrize("wrong", ["-1", "5m", "nan"])
def test_a_longest_wait_that_is_none_is_wrong_usage(project: Project, wrong: str) -> None:
    done = project.soniq("status", f"--max-wait={wrong}")
    assert done.returncode == 2
    assert wrong in done.stderr


async def test_jobs_lists_the_newest_that_match(project: Project, producer: Soniq) -> None:
    one = await producer.enqueue("add", args={"a": 1, "b": 1}, queue="sums", tags=["red"])
    two = await producer.enqueue("fail", max_attempts=1)
    three = await producer.enqueue("add", args={"a": 1, "b": 2}, tags=["red", "blue"])
    await producer.cancel(two)

    def listed(*options: str) -> list[str]:
        return [job["job_id"] for job in project.json("jobs", *options)]

    assert listed() == [three, two, one]
    assert listed("--status", "queued", "--name", "add") == [three, one]
    assert listed("--queue", "sums") == [one]
    assert listed("--tag", "blue") == [three]
    assert listed("--limit", "1", "--before", three) == [two]


async def test_jobs_lists_those_since_a_time(
    project: Project, producer: Soniq, schema: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    old, new = [await producer.enqueue("fail", max_attempts=1) for _ in range(2)]
    project.soniq("worker", "app:eq", "--once")
    await connection.execute(
        f"update {schema}.history set finished_at = now() - interval '90 minutes' where id = $1",
        UUID(old),
    )
    half_a_day_ago = (datetime.now(UTC) - timedelta(hours=12)).isoformat(" ")
    for since, listed in (
        ("1h", [new]),
        ("0.5d", [new, old]),
        (half_a_day_ago, [new, old]),
        ("0s", []),
    ):
        found = project.json("jobs", "--status", "dead", "--since", since)
        assert [job["job_id"] for job in found] == listed


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("7", "not a number with a unit"),
        ("yesterday", "neither a duration"),
        ("2030-01-31", "has no time zone"),
    ],
)
def test_a_time_that_is_none_is_wrong_usage(project: Project, wrong: str, said: str) -> None:
    done = project.soniq("jobs", f"--since={wrong}")
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


async def test_jobs_prints_a_table_in_which_an_error_takes_one_line(
    project: Project, producer: Soniq
) -> None:
    job_id = await producer.enqueue("fail", max_attempts=1)
    assert project.soniq("jobs", "--status", "dead").stdout == "no job matches\n"
    project.soniq("worker", "app:eq", "--once")
    head, line = project.soniq("jobs", "--status", "dead").stdout.splitlines()
    assert head.split() == [
        "ID",
        "STATUS",
        "NAME",
        "QUEUE",
        "ATTEMPT",
        "CREATED",
        "SCHEDULED",
        "FINISHED",
        "ERROR",
    ]
    assert line.startswith(f"{job_id}  dead    fail  default  1 of 1   ")
    assert line.endswith("  ValueError: the \\x1b[31mfuse is blown")
    assert line.index("dead") == head.index("STATUS")


async def test_inspect_shows_all_about_a_dead_job_with_its_traceback(
    project: Project, producer: Soniq
) -> None:
    job_id = await producer.enqueue("fail", max_attempts=1, priority=-3, tags=["red", "blue"])
    project.soniq("worker", "app:eq", "--once")
    status = await producer.get_job_status(job_id)
    assert status is not None

    shown = project.soniq("inspect", job_id)
    assert shown.returncode == 0
    fields = shown.stdout.partition("\n\n")[0]
    lines = [line.split(maxsplit=1) for line in fields.splitlines() if not line.startswith(" ")]
    assert {line[0] for line in lines} == {*status, "arguments", "traceback"} - {"attempts"}
    first = {name: "".join(rest) for name, *rest in lines}
    assert (first["priority"], first["tags"], first["status"]) == ("-3", "red, blue", "dead")
    assert first["error"] == "ValueError: the \\x1b[31mfuse"
    assert '  raise ValueError("the \\x1b[31mfuse\\nis blown")' in shown.stdout
    assert "\x1b" not in shown.stdout

    found = project.json("inspect", job_id)
    assert set(found) == {*status, "arguments", "plugins"}
    assert found["arguments"] == {}
    assert found["error"] == status["error"]
    assert datetime.fromisoformat(found["finished_at"]) == status["finished_at"]


@pytest.mark.parametrize("options", [[], ["--app", "app:eq"]])
async def test_inspect_shows_arguments_and_result_with_the_app_or_without(
    project: Project, producer: Soniq, options: list[str]
) -> None:
    job_id = await producer.enqueue("bill", args={"due": "2030-05-01"})
    project.soniq("worker", "app:eq", "--once")
    found = project.json("inspect", job_id, *options)
    assert found["arguments"] == {"due": "2030-05-01"}
    assert found["result"] == {"due": "2030-05-01", "lines": ["one", "two"]}


async def test_inspect_cuts_long_arguments_but_not_in_json(
    project: Project, producer: Soniq
) -> None:
    text = "x" * 50_000
    job_id = await producer.enqueue("elsewhere", args={"text": text})
    shown = project.soniq("inspect", job_id).stdout
    assert len(shown) < 12_000
    assert "characters are left out" in shown
    assert project.json("inspect", job_id)["arguments"] == {"text": text}


SECRETIVE = """
import asyncio
from soniq import Soniq, hookimpl

class Presenting:
    name = "presenting"

    @hookimpl
    def present(self, what, value):
        return "no " + what if what in ("error", "progress") else None

eq = Soniq(plugins=[Presenting()])

@eq.job(name="pay", hide=["trip.pin"], max_attempts=1)
async def pay(trip: dict, password: str) -> dict:
    return {"token": password, "trip": {"pin": 4111}}

@eq.job(name="refuse", max_attempts=1)
async def refuse() -> None:
    raise ValueError("hunter2")
"""


async def test_inspect_masks_what_is_secret_unless_it_is_asked_for_it(
    project: Project, producer: Soniq
) -> None:
    project.write("secretive.py", SECRETIVE)
    arguments = {"trip": {"pin": 4111, "until": 2030}, "password": "hunter2"}
    job_id = await producer.enqueue("pay", args=arguments, headers={"a": 1})
    refused = await producer.enqueue("refuse")
    app = ["--app", "secretive:eq"]
    project.soniq("worker", "secretive:eq", "--once")

    found = project.json("inspect", job_id, *app)
    assert found["arguments"] == {"trip": {"pin": "***", "until": 2030}, "password": "***"}
    assert found["result"] == {"token": "***", "trip": {"pin": "***"}}
    shown = project.soniq("inspect", job_id, *app).stdout
    assert "hunter2" not in shown
    assert "4111" not in shown
    assert "hunter2" not in project.soniq("inspect", job_id).stdout
    found = project.json("inspect", refused, *app)
    assert found["error"]["message"] == found["attempts"][0]["message"] == "no error"

    (listed,) = project.json("jobs", "--name", "refuse", *app)
    assert listed["error"]["message"] == "no error"
    (found,) = project.json("jobs", "--error", "ValueError", *app)["jobs"]
    assert found["error_message"] == "no error"
    for options in (["--name", "refuse"], ["--error", "ValueError"]):
        assert "hunter2" not in project.soniq("jobs", *options, *app).stdout

    found = project.json("inspect", job_id, "--show-secrets")
    assert found["arguments"] == arguments
    assert found["result"] == {"token": "hunter2", "trip": {"pin": 4111}}
    found = project.json("inspect", refused, *app, "--show-secrets")
    assert found["error"]["message"] == found["attempts"][0]["message"] == "hunter2"


async def test_inspect_shows_the_rest_where_arguments_cannot_be_read(
    project: Project, producer: Soniq, schema: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    job_id = await producer.enqueue("add", args={"a": 1, "b": 1})
    await connection.execute(f"update {schema}.job set args = 'rubbish'")
    done = project.soniq("inspect", job_id, "--json")
    assert done.returncode == 0
    assert done.stderr.startswith("warning: the arguments of add cannot be read (json): ")
    found = json.loads(done.stdout)
    assert (found["job_name"], found["arguments"]) == ("add", None)


@pytest.mark.parametrize("command", ["inspect", "cancel", "retry"])
def test_a_job_that_does_not_exist_is_exit_code_three(
    project: Project, producer: Soniq, command: str
) -> None:
    done = project.soniq(command, MISSING)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"error: no job has the id {MISSING}\n"


def test_an_id_that_is_no_uuid_is_wrong_usage(project: Project) -> None:
    done = project.soniq("cancel", MISSING, "17")
    assert done.returncode == 2
    assert "a job id is a UUID, as enqueue returns it; got '17'" in done.stderr


async def test_cancel_takes_several_ids_and_one_that_cannot_be_does_not_harm_the_others(
    project: Project, producer: Soniq
) -> None:
    one, two = [await producer.enqueue("add", args={"a": n, "b": 1}) for n in range(2)]
    await producer.cancel(one)
    done = project.soniq("cancel", one, two, "--reason", "a mistake")
    assert done.returncode == 3
    assert done.stdout == f"{two}  cancelled\n"
    assert done.stderr == f"error: job {one} is cancelled, and cannot be cancelled\n"
    status = await producer.get_job_status(two)
    assert status is not None
    assert status["status"] == "cancelled"
    assert status["error"] is not None
    assert status["error"]["message"] == "a mistake"

    done = project.soniq("cancel", one, MISSING, "--json")
    assert done.returncode == 3
    assert [(each["job_id"], each["ok"], each["status"]) for each in json.loads(done.stdout)] == [
        (one, False, "cancelled"),
        (MISSING, False, None),
    ]


async def test_cancel_has_a_running_job_ended(project: Project, producer: Soniq) -> None:
    job_id = await producer.enqueue("wait_for_file", args={"path": "never"})
    worker = project.start("worker", "app:eq")
    worker.printed("waiting")
    done = project.soniq("cancel", job_id)
    assert done.returncode == 0
    assert done.stdout in (f"{job_id}  is asked to end\n", f"{job_id}  cancelled\n")
    worker.logged("was cancelled")
    async with asyncio.timeout(30):
        while await producer.jobs(status="running"):
            await asyncio.sleep(0.02)
    assert [job["job_id"] for job in await producer.jobs(status="cancelled")] == [job_id]


async def test_retry_queues_dead_and_cancelled_jobs_makes_queued_ones_due_and_refuses_others(
    project: Project, producer: Soniq
) -> None:
    again = [await producer.enqueue("fail", max_attempts=1) for _ in range(2)]
    done_ = await producer.enqueue("add", args={"a": 1, "b": 1})
    project.soniq("worker", "app:eq", "--once")
    again += [await producer.enqueue("fail", delay=3600) for _ in range(2)]
    await producer.cancel(again[-1])
    done = project.soniq("retry", *again, done_, MISSING)
    assert done.returncode == 3
    assert done.stdout == "".join(f"{id_}  queued\n" for id_ in again)
    assert done.stderr == (
        f"error: only a dead, cancelled or queued job can be retried; {done_} is done\n"
        f"error: no job has the id {MISSING}\n"
    )
    assert (await producer.backlog())["default"]["waiting"] == 4


async def test_retry_names_the_job_that_holds_the_key_of_a_unique_one(
    project: Project, producer: Soniq
) -> None:
    dead = await producer.enqueue("fail", max_attempts=1, dedup_key="only-one")
    project.soniq("worker", "app:eq", "--once")
    other = await producer.enqueue("fail", max_attempts=1, dedup_key="only-one")
    done = project.soniq("retry", dead, "--json")
    assert done.returncode == 3
    (each,) = json.loads(done.stdout)
    assert (each["ok"], each["status"]) == (False, "dead")
    assert other in each["error"]
    assert done.stderr == f"error: {each['error']}\n"


async def test_prune_forgets_finished_jobs_of_a_status_and_age(
    project: Project, producer: Soniq
) -> None:
    kept = await producer.enqueue("fail", max_attempts=1)
    project.soniq("worker", "app:eq", "--once")
    await producer.cancel(await producer.enqueue("add", args={"a": 1, "b": 1}))
    waiting = await producer.enqueue("add", args={"a": 1, "b": 1})
    assert project.soniq("prune").stdout == "forgot 0 jobs\n"
    assert project.soniq("prune", "--older-than", "1h").stdout == "forgot 0 jobs\n"
    assert (
        project.soniq("prune", "--older-than", "0s", "--status", "cancelled").stdout
        == "forgot 1 job\n"
    )
    assert [job["job_id"] for job in await producer.jobs()] == [waiting, kept]
    assert project.json("prune", "--older-than", "0s") == {"pruned": 0}, (
        "nobody has looked at it yet"
    )
    assert project.json("prune", "--older-than", "0s", "--status", "dead") == {"pruned": 1}
    assert [job["job_id"] for job in await producer.jobs()] == [waiting]


@pytest.mark.parametrize("wrong", ["7", "999999d"])
def test_a_duration_that_is_none_is_wrong_usage(project: Project, wrong: str) -> None:
    done = project.soniq("prune", f"--older-than={wrong}")
    assert done.returncode == 2
    assert wrong in done.stderr
