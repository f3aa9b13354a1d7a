"""What `soniq worker` shows of what jobs and libraries log."""

import pytest

from soniq import Soniq

from .conftest import Project

TALKS = """
import logging
from app import eq

own = logging.getLogger("shop.mail")

@eq.job(name="talk")
async def talk() -> None:
    own.debug("a detail")
    own.info("the mail\\nis sent")
    try:
        1 / 0
    except ZeroDivisionError:
        own.exception("it went on")
"""


async def test_the_info_lines_of_a_handlers_own_loggers_are_shown(
    project: Project, producer: Soniq
) -> None:
    project.write("talks.py", TALKS)
    job_id = await producer.enqueue("talk")
    done = project.soniq("worker", "talks:eq", "--once")
    assert done.returncode == 0
    assert " info    shop.mail: the mail is sent\n" in done.stderr
    assert f" info    job {job_id} (talk, attempt 1) done in 0." in done.stderr
    assert "a detail" not in done.stderr
    assert " error   shop.mail: it went on\nTraceback (most recent call last):" in done.stderr
    assert done.stderr.count("the mail") == 1


@pytest.mark.parametrize(("level", "shown"), [("debug", True), ("warning", False)])
async def test_the_log_level_is_also_that_of_a_handlers_own_loggers(
    project: Project, producer: Soniq, level: str, shown: bool
) -> None:
    project.write("talks.py", TALKS)
    await producer.enqueue("talk")
    done = project.soniq("worker", "talks:eq", "--once", "--log-level", level)
    assert ("shop.mail: a detail" in done.stderr, "the mail is sent" in done.stderr) == (
        shown,
        shown,
    )
    assert "shop.mail: it went on" in done.stderr


async def test_a_logger_that_the_app_gave_a_handler_is_shown_once(
    project: Project, producer: Soniq
) -> None:
    project.write(
        "own.py",
        TALKS
        + "\nhandler = logging.StreamHandler()\nhandler.setFormatter(logging.Formatter('[mine]"
        " %(message)s'))\n"
        "logging.getLogger('shop').addHandler(handler)\nlogging.getLogger('shop').setLevel('INFO')\n",
    )
    await producer.enqueue("talk")
    done = project.soniq("worker", "own:eq", "--once")
    assert "[mine] the mail\nis sent\n" in done.stderr
    assert done.stderr.count("is sent") == 1
    assert "stopped after 1 attempt" in done.stderr, "what Soniq logs is shown all the same"


async def test_the_environment_turns_the_lines_of_jobs_down(
    project: Project, producer: Soniq
) -> None:
    await producer.enqueue("add", args={"a": 1, "b": 1})
    done = project.soniq("worker", "app:eq", "--once", SONIQ_LOG_JOBS="debug")
    assert "stopped after 1 attempt" in done.stderr
    assert "done in" not in done.stderr
