"""The command line where something of its surroundings is odd: standard streams, the locale, the
current directory, what the app's module holds.
"""

import shlex
import subprocess
import sys

import pytest

from soniq import Soniq

from .conftest import LIMIT, Project

SONIQ = f"{shlex.quote(sys.executable)} -m soniq"


def in_a_shell(
    project: Project, line: str, **environment: str
) -> "subprocess.CompletedProcess[bytes]":
    """What a line of a shell comes to, in which `soniq` is the command."""
    return subprocess.run(
        ["sh", "-c", line.replace("soniq ", f"{SONIQ} ")],
        cwd=project.folder,
        env=project.environment | environment,
        capture_output=True,
        timeout=LIMIT,
    )


# --- standard streams ----------------------------------------------------------------------------


async def test_where_stdin_is_closed_all_needs_a_yes(project: Project, producer: Soniq) -> None:
    done = in_a_shell(project, "soniq delete --all --name add <&-")
    assert done.returncode == 2
    assert b"where no one can answer, add --yes" in done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("soniq enqueue add - <&-", "stdin is closed"),
        (r"printf '{\"a\": \"\377\"}' | soniq enqueue add -", "not valid JSON"),
        ("head -c 100000 /dev/zero | tr '\\0' '[' | soniq enqueue add -", "recursion depth"),
    ],
    ids=["closed", "no UTF-8", "nested"],
)
async def test_arguments_that_cannot_be_read_from_stdin_are_wrong_usage(
    project: Project, producer: Soniq, line: str, said: str
) -> None:
    done = in_a_shell(project, line, PYTHONIOENCODING="utf-8")
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert await producer.jobs() == []


@pytest.mark.parametrize("arguments", ["jobs", "jobs --json", "status", "inspect ID"])
async def test_what_the_locale_cannot_show_is_printed_with_escapes(
    project: Project, producer: Soniq, arguments: str
) -> None:
    job_id = await producer.enqueue("tauwetter-☃-ü", queue="☃")
    line = f"soniq {arguments}".replace("ID", job_id)
    done = in_a_shell(project, line, PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u2603" in done.stdout


# --- the app's module ----------------------------------------------------------------------------

LAZY = """
from app import eq

class Settings:
    @property
    def __class__(self):
        raise LookupError("the settings are not configured")

class Container:
    @property
    def app(self):
        return 1 / 0

settings = Settings()
container = Container()
"""


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("lazy:qe", 2, "'lazy' has no attribute 'qe'; did you mean lazy:eq?"),
        ("lazy:settings", 2, "lazy:settings is a Settings, not a Soniq"),
        (
            "lazy:container.app",
            1,
            "error: looking up 'lazy:container.app' failed: ZeroDivisionError: division by zero"
            " (lazy.py, line 12)",
        ),
    ],
)
def test_a_lazy_object_in_the_module_does_not_hide_what_is_wrong(
    project: Project, name: str, code: int, said: str
) -> None:
    project.write("lazy.py", LAZY)
    done = project.soniq("worker", name)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", "importing 'odd' failed: SyntaxError: invalid syntax (odd.py, line 1)\n"),
        ("raise GeneratorExit\n", "importing 'odd' failed: GeneratorExit:  (odd.py, line 1)\n"),
        (
            "class Odd(Exception):\n    def __str__(self):\n        raise self\nraise Odd\n",
            "importing 'odd' failed: Odd: (its text cannot be made: Odd) (odd.py, line 4)\n",
        ),
    ],
)
def test_whatever_an_import_raises_is_told_in_a_line(
    project: Project, text: str, said: str
) -> None:
    project.write("odd.py", text)
    done = project.soniq("worker", "odd:eq")
    assert (done.returncode, done.stderr) == (1, f"error: {said}")


# --- the current directory -----------------------------------------------------------------------


async def test_a_worker_begins_where_its_directory_was_deleted(
    project: Project, producer: Soniq
) -> None:
    job_id = await producer.enqueue("add", a=1, b=2)
    line = "mkdir gone && cd gone && rmdir ../gone && soniq worker --once "
    done = in_a_shell(project, f"{line} app:eq", PYTHONPATH=str(project.folder))
    assert done.returncode == 0, done.stderr
    assert await producer.get_result(job_id) == 3

    done = in_a_shell(project, f"{line} ap:eq", PYTHONPATH=str(project.folder))
    assert done.returncode == 2
    assert b"there is no module 'ap' (looked in the current directory, which is not" in done.stderr


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queues", "said"),
    [("a:2,a:3", "a queue is named twice"), (f"a:{'9' * 5_000}", "give each queue a concurrency")],
    ids=["twice", "digits"],
)
def test_a_concurrency_that_cannot_be_is_wrong_usage(
    project: Project, queues: str, said: str
) -> None:
    done = project.soniq("worker", "app:eq", "--queues", queues)
    assert done.returncode == 2
    assert said in done.stderr
