"""`soniq worker --reload`: a fresh worker when a file changes, whatever state the files are in."""

import signal

import pytest

from soniq import Soniq
from tests.support.waiting import eventually

from .conftest import APP, Project

# A process that is killed may leave one that has not ended yet
pytestmark = pytest.mark.new_schema

SAYS = """
@eq.job(name="say")
async def say() -> str:
    return "{word}"
"""


async def test_a_change_starts_the_worker_afresh_and_an_import_error_does_not_end_it(
    project: Project, producer: Soniq
) -> None:
    async def said() -> str:
        job_id = await producer.enqueue("say")
        return str(await producer.wait_for(job_id, 30))

    project.write("app.py", APP + SAYS.format(word="one"))
    worker = project.start("worker", "app:eq", "--reload")
    worker.logged(" started: soniq")
    assert await said() == "one"

    project.write("app.py", APP + SAYS.format(word="two"))
    worker.logged("changed: app.py; restarting the worker")
    worker.logged(" started: soniq")
    assert await said() == "two"

    project.write("app.py", "def f(:\n")
    worker.logged("importing 'app' failed: SyntaxError")
    worker.logged("the worker ended (exit code 1); the next change restarts it")
    assert worker.process.poll() is None

    project.write("app.py", APP + SAYS.format(word="three"))
    worker.logged(" started: soniq")
    assert await said() == "three"

    worker.process.send_signal(signal.SIGTERM)
    assert worker.end() == 0

    async def gone() -> bool:
        return not (await producer.overview())["workers"]

    await eventually(gone)


async def test_a_job_that_runs_when_a_file_changes_runs_again_uncharged(
    project: Project, producer: Soniq
) -> None:
    file = project.folder / "go"
    job_id = await producer.enqueue("wait_for_file", args={"path": str(file)})
    worker = project.start("worker", "app:eq", "--reload")
    worker.printed("waiting")
    project.write("other.py", "")
    worker.printed("waiting")
    file.touch()
    assert await producer.wait_for(job_id, 30) == "seen"
    status = await producer.get_job_status(job_id)
    assert status is not None
    assert status["attempt"] == 1
    worker.process.send_signal(signal.SIGINT)
    assert worker.end() == 0


async def test_an_app_that_cannot_be_imported_at_first_is_waited_for(
    project: Project, producer: Soniq
) -> None:
    project.write("app.py", "import no_such_library\n")
    worker = project.start("worker", "app:eq", "--reload")
    worker.logged("the next change restarts it")
    project.write("app.py", APP)
    worker.logged(" started: soniq")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.end() == 0


def test_where_watchfiles_is_missing_the_words_are_clear(project: Project) -> None:
    project.write("broken/watchfiles.py", "raise ImportError('not there')")
    done = project.soniq("worker", "app:eq", "--reload", PYTHONPATH=str(project.folder / "broken"))
    assert done.returncode == 1
    assert (
        done.stderr
        == "error: --reload needs the package watchfiles: pip install 'soniq-core[reload]'\n"
    )


def test_reloading_goes_with_one_worker_that_goes_on(project: Project) -> None:
    assert project.soniq("worker", "app:eq", "--reload", "--once").returncode == 2
    assert project.soniq("worker", "app:eq", "--reload", "--processes", "2").returncode == 2
