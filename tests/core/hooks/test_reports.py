"""status_fields and inspect_fields: what plugins add to what the commands show. How the commands
show it is tested with them.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from soniq import JobStatus, Soniq, hookimpl
from soniq.hooks.reports import Report, report
from soniq.plugin import Secret, load_plugins
from tests.core.hooks.support import MakeApp, MakePlugin

LIMIT = 0.5
NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)


async def asked(app: Soniq, hook: str = "status_fields", *values: object) -> Report:
    """What the plugins of an app say."""
    await app.start()
    return await report(load_plugins(app), hook, LIMIT, app, *values)


class Audit:
    """A plugin that knows how many jobs there are, and of each that it has seen it."""

    name = "audit"

    @hookimpl
    async def status_fields(self, app: Soniq) -> dict[str, object]:
        return {"jobs": len(await app.jobs()), "since": NOON}

    @hookimpl
    def inspect_fields(self, job: JobStatus) -> dict[str, object] | None:
        return {"seen": job["job_name"]} if job["queue"] == "default" else None


async def test_a_plugin_adds_fields_of_its_own_and_may_use_the_app(make_app: MakeApp) -> None:
    app = make_app(plugins=[Audit()])
    assert await asked(app) == Report({"audit": {"jobs": 0, "since": NOON}}, [])


async def test_one_that_knows_nothing_of_a_job_adds_nothing(make_app: MakeApp) -> None:
    app = make_app(plugins=[Audit()])
    jobs: list[dict[str, str]] = [{"job_name": "a", "queue": each} for each in ("default", "other")]
    reports = [await asked(app, "inspect_fields", job) for job in jobs]
    assert reports == [Report({"audit": {"seen": "a"}}, []), Report({}, [])]


class Odd:
    """What JSON does not know."""

    def __str__(self) -> str:
        return "odd"


async def test_values_are_made_plain_and_secrets_stay_secret(
    make_app: MakeApp, make_plugin: MakePlugin
) -> None:
    fields = {"odd": [Odd()], "by number": {1: 2}, "key": Secret("hunter2")}
    app = make_app(plugins=[make_plugin("odd", status_fields=lambda: fields)])
    assert (await asked(app)).plugins == {
        "odd": {"odd": ["odd"], "by number": {"1": 2}, "key": "Secret('***')"}
    }


def fails() -> Any:
    raise ValueError("no table")


async def hangs() -> Any:
    await asyncio.Event().wait()


async def cancels() -> Any:
    raise asyncio.CancelledError("own")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (fails, "ValueError('no table')"),
        (hangs, "HookTimeout('it waited longer than 0.5 s (hook_timeout)')"),
        (cancels, "CancelledError('own')"),
        (lambda: ["a line"], "TypeError(\"it returned ['a line']; fields are a mapping by name\")"),
        (lambda: {1: 2}, "TypeError('it returned {1: 2}; fields are a mapping by name')"),
    ],
)
async def test_an_error_in_one_is_a_warning_and_the_others_are_heard(
    make_app: MakeApp, make_plugin: MakePlugin, wrong: Any, words: str
) -> None:
    app = make_app(plugins=[make_plugin("wrong", status_fields=wrong), Audit()])
    found = await asked(app)
    assert found.warnings == [f"status_fields of wrong failed: {words}"]
    assert set(found.plugins) == {"audit"}
