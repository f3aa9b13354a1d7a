"""What plugins are owed, on the command line: `soniq status` says so, `soniq release --forget` drops
it.
"""

import asyncpg
import pytest

from soniq import Soniq

from .conftest import Project


@pytest.fixture
async def marked(producer: Soniq, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """A job that a plugin holds and has marked, which no worker has, and an event that it is owed."""
    schema = producer.settings.schema
    await producer.enqueue("add", args={"a": 1, "b": 2})
    await connection.execute(
        f"update {schema}.job set status = 'held', held_by = '{{limits}}', marks = '{{limits}}';"
        f" insert into {schema}.owed (plugin, kind, what) values ('limits', 'note', '{{}}')"
    )


async def test_status_says_what_is_owed_to_whom_and_which_plugin_no_worker_has(
    project: Project, marked: None
) -> None:
    shown = project.soniq("status").stdout
    assert "\nowed to limits: 1 event, the oldest for " in shown
    assert "no live worker has the plugin" not in shown  # there is none at all

    project.start("worker", "app:eq").logged("started")
    shown = project.soniq("status").stdout
    assert "\nno live worker has the plugin 'limits': 1 job marked for it\n" in shown
    found = project.json("status")
    assert found["missing_plugins"] == {"limits": 1}
    assert found["owed"]["limits"]["events"] == 1


async def test_a_plugin_that_is_gone_for_good_is_forgotten(project: Project, marked: None) -> None:
    assert project.soniq("release", "--held-by", "limits", "--forget").stdout == "released 1 job\n"
    found = project.json("status")
    assert (found["owed"], found["held_by"]) == ({}, {})
    assert project.soniq("worker", "app:eq", "--once").returncode == 0
    assert project.json("status")["queues"] == {"default": {"done": 1}}


def test_to_forget_is_for_a_plugin_and_not_for_jobs(project: Project) -> None:
    for arguments in (["--forget"], ["--forget", "01900000-0000-7000-8000-000000000000"]):
        done = project.soniq("release", *arguments)
        assert done.returncode == 2
        assert "--forget is for all jobs of a plugin: say --held-by, and no ids" in done.stderr
