"""`soniq worker`: how it finds the app, what it says, and how it ends."""

import re
import signal

import pytest

from soniq import Soniq

from .conftest import Project

# A process that is killed may leave one that has not ended yet
pytestmark = pytest.mark.new_schema


async def test_once_runs_what_is_due_and_ends(project: Project, producer: Soniq) -> None:
    ids = await producer.enqueue_many("add", [{"a": n, "b": 1} for n in range(5)])
    done = project.soniq("worker", "app:eq", "--once")
    assert done.returncode == 0
    assert [await producer.get_result(id_) for id_ in ids] == [1, 2, 3, 4, 5]


async def test_each_event_is_logged_in_one_line_with_time_and_level(
    project: Project, producer: Soniq
) -> None:
    job_id = await producer.enqueue("fail", max_attempts=1)
    done = project.soniq("worker", "app:eq", "--once")
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    start = re.compile(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d (info|warning|error) +\S"
    )
    assert all(start.match(line) for line in lines), done.stderr
    assert re.search(r" started: soniq .* all queues, .* plugins: none$", lines[0])
    failure = [line for line in lines if " error " in line]
    assert len(failure) == 1
    assert (
        f"job {job_id} (fail, attempt 1 of 1) failed; it is dead: ValueError: the \\x1b[31mfuse is"
        in failure[0]
    )
    assert lines[-1].endswith("stopped after 1 attempt")


async def test_the_log_level_says_how_much_is_logged(project: Project, producer: Soniq) -> None:
    await producer.enqueue("fail", max_attempts=1)
    done = project.soniq("worker", "app:eq", "--once", "--log-level", "error")
    assert len(done.stderr.splitlines()) == 1
    assert "is dead" in done.stderr


async def test_an_app_that_sets_up_logging_keeps_its_own(project: Project, producer: Soniq) -> None:
    project.write(
        "loud.py",
        """
        import logging
        from app import eq
        logging.basicConfig(format="[mine] %(message)s", level="INFO")
        """,
    )
    done = project.soniq("worker", "loud:eq", "--once")
    assert done.returncode == 0
    assert all(line.startswith("[mine] ") for line in done.stderr.splitlines())
    assert "stopped after" in done.stderr


async def test_the_environment_may_name_the_app_and_only_the_given_queues_are_worked(
    project: Project, producer: Soniq
) -> None:
    ids = [
        await producer.enqueue("add", args={"a": 1, "b": 1}, queue=queue)
        for queue in ("mail", "bills", "rest")
    ]
    done = project.soniq("worker", "--once", "--queues", "mail, bills", SONIQ_APP="app:eq")
    assert done.returncode == 0
    assert [await producer.get_result(id_) for id_ in ids] == [2, 2, None]


async def test_the_app_can_be_named_by_an_option_as_with_other_commands(
    project: Project, producer: Soniq
) -> None:
    job_id = await producer.enqueue("add", args={"a": 1, "b": 1})
    done = project.soniq("worker", "--once", "--app", "app:eq", SONIQ_APP="nowhere:eq")
    assert done.returncode == 0, done.stderr
    assert await producer.get_result(job_id) == 2

    twice = project.soniq("worker", "app:eq", "--once", "--app", "app:eq")
    assert twice.returncode == 2
    assert "--app names the app, and so does the argument; leave one out" in twice.stderr
    wrong = project.soniq("worker", "--app", "nowhere:eq")
    assert wrong.returncode == 2
    assert "nowhere" in wrong.stderr


def test_an_app_in_a_package_and_an_attribute_of_an_object_can_be_named(
    project: Project, producer: Soniq
) -> None:
    project.write("shop/jobs.py", "import app\nclass Parts:\n    queue = app.eq\n")
    done = project.soniq("worker", "shop.jobs:Parts.queue", "--once")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ap:eq", "there is no module 'ap' (looked in {folder}); did you mean 'app'?"),
        (
            "shop.job:eq",
            "there is no module 'shop.job' (looked in shop); did you mean 'shop.jobs'?",
        ),
        ("app:qe", "'app' has no attribute 'qe'; did you mean app:eq?"),
        ("app:add", "app:add is a Job, not a Soniq; did you mean app:eq?"),
        (
            "shop.jobs:nothing",
            "'shop.jobs' has no attribute 'nothing'; there is no Soniq in shop.jobs",
        ),
        ("shop/jobs.py:eq", "'shop/jobs.py:eq' names a file; name the module: shop.jobs:eq"),
        ("app", "'app' is not of the form module:attribute"),
    ],
)
def test_a_wrong_name_is_wrong_usage_and_the_nearest_right_one_is_named(
    project: Project, name: str, said: str
) -> None:
    project.write("shop/jobs.py", "")
    done = project.soniq("worker", name)
    assert done.returncode == 2
    assert said.format(folder=project.folder) in done.stderr


def test_no_app_at_all_is_wrong_usage(project: Project) -> None:
    done = project.soniq("worker")
    assert done.returncode == 2
    assert "set SONIQ_APP" in done.stderr


@pytest.mark.parametrize("wrong", [["--concurrency", "0"], ["--queues", "a,,b"]])
def test_options_that_cannot_be_are_wrong_usage(project: Project, wrong: list[str]) -> None:
    done = project.soniq("worker", "app:eq", *wrong)
    assert done.returncode == 2
    assert wrong[0] in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import app\n\n1 / 0\n", "ZeroDivisionError: division by zero (broken.py, line 3)"),
        ("import no_such_library\n", "No module named 'no_such_library' (broken.py, line 1)"),
        ("def f(:\n", "SyntaxError: invalid syntax (broken.py, line 1)"),
        ("from app import eq\neq.job(name='add')(print)\n", "JobDefinitionError: "),
    ],
)
def test_an_app_that_cannot_be_imported_is_an_error_that_says_where(
    project: Project, text: str, said: str
) -> None:
    project.write("broken.py", text)
    done = project.soniq("worker", "broken:eq")
    assert done.returncode == 1
    assert done.stderr.startswith("error: importing 'broken' failed: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_is_not_there_is_an_error_without_the_password(project: Project) -> None:
    done = project.soniq(
        "worker",
        "app:eq",
        "--wait",
        "0s",
        SONIQ_DATABASE_URL="postgresql://eva:s3cret@127.0.0.1:1/shop",
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot connect to PostgreSQL at 127.0.0.1:1/shop")
    assert "s3cret" not in done.stderr
    assert "Traceback" not in done.stderr


async def test_an_app_that_was_used_while_it_was_imported_works_all_the_same(
    project: Project, producer: Soniq
) -> None:
    job_id = await producer.enqueue("add", args={"a": 1, "b": 1})
    project.write("eager.py", "from app import add, eq\nfirst = eq.sync.enqueue(add, 2, 2)\n")
    done = project.soniq("worker", "eager:eq", "--once")
    assert done.returncode == 0, done.stderr
    assert await producer.get_result(job_id) == 2
    assert len(await producer.jobs(status="done")) == 2
    assert project.soniq("status", "--app", "eager:eq").returncode == 0


async def test_sigterm_lets_a_running_job_finish(project: Project, producer: Soniq) -> None:
    file = project.folder / "go"
    job_id = await producer.enqueue("wait_for_file", args={"path": str(file)})
    worker = project.start("worker", "app:eq")
    worker.printed("waiting")
    worker.process.send_signal(signal.SIGTERM)
    worker.logged("stopping: 1 attempts run")
    file.touch()
    assert worker.end() == 0
    assert await producer.get_result(job_id) == "seen"


async def test_a_job_that_takes_longer_than_the_grace_time_is_requeued_and_not_charged(
    project: Project, producer: Soniq
) -> None:
    job_id = await producer.enqueue("wait_for_file", args={"path": "never"})
    worker = project.start("worker", "app:eq", SONIQ_GRACE="0.1")
    worker.printed("waiting")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.end() == 0
    status = await producer.get_job_status(job_id)
    assert status is not None
    assert (status["status"], status["attempt"]) == ("queued", 0)


@pytest.mark.parametrize("once", [False, True])
async def test_a_second_signal_ends_the_grace_time_at_once(
    project: Project, producer: Soniq, once: bool
) -> None:
    job_id = await producer.enqueue("wait_for_file", args={"path": "never"})
    worker = project.start("worker", "app:eq", *(["--once"] if once else []), SONIQ_GRACE="600")
    worker.printed("waiting")
    worker.process.send_signal(signal.SIGINT)
    worker.logged("have 600 s to end")
    assert worker.process.poll() is None
    worker.process.send_signal(signal.SIGINT)
    assert worker.end() == 0
    assert "stopping now" in worker.errors
    status = await producer.get_job_status(job_id)
    assert status is not None
    assert (status["status"], status["attempt"]) == ("queued", 0)


@pytest.mark.parametrize("name", ["block_thread", "refuse_to_end"])
async def test_a_handler_that_cannot_be_ended_does_not_keep_the_process(
    project: Project, producer: Soniq, name: str
) -> None:
    job_id = await producer.enqueue(name)
    worker = project.start("worker", "app:eq", SONIQ_GRACE="0.1")
    worker.printed("waiting")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.end() == 0
    assert f"job {job_id} ({name}) could not be ended" in worker.errors
    assert "ending the process although these did not stop" in worker.errors
    status = await producer.get_job_status(job_id)
    assert status is not None
    assert (status["status"], status["attempt"]) == ("queued", 0)
