"""Cron monitors: the jobs of a schedule check in, once they begin and once they have ended."""

import json
import uuid
from typing import Any

import pytest
from sentry_sdk.envelope import Envelope

from soniq import Cancel, Soniq
from soniq_sentry import SentryPlugin
from soniq_sentry.monitors import monitor_config, slug_of
from tests.conftest import MakeApp
from tests.plugins.sentry.backend import Backend
from tests.plugins.sentry.conftest import Run

NIGHTLY = {
    "name": "shop.Nightly",
    "at": "2026-01-01T02:30:00+00:00",
    "cron": "30 2 * * *",
    "tz": "Europe/Berlin",
}


def check_ins(backend: Backend) -> list[dict[str, Any]]:
    return [
        json.loads(item.payload.get_bytes())
        for data in backend.envelopes
        for item in Envelope.deserialize(data).items
        if item.headers["type"] == "check_in"
    ]


async def scheduled(app: Soniq, run: Run, handler: Any, header: object = NIGHTLY) -> str:
    job = app.job(name="nightly", max_attempts=2, retry=0)(handler)
    return (await run(app, job, headers={"soniq-schedule": header}))["job_id"]


async def test_a_job_of_a_schedule_checks_in_and_makes_the_monitor(
    make_app: MakeApp, backend: Backend, run: Run
) -> None:
    app = make_app(plugins=[SentryPlugin(monitors="other, shop.*")])
    job_id = await scheduled(app, run, done)
    begin, end = check_ins(backend)
    assert (begin["status"], end["status"]) == ("in_progress", "ok")
    assert begin["check_in_id"] == end["check_in_id"] == uuid.UUID(job_id).hex
    assert end["monitor_slug"] == "shop-nightly"
    assert end["duration"] >= 0
    assert end["monitor_config"] == {
        "schedule": {"type": "crontab", "value": "30 2 * * *"},
        "timezone": "Europe/Berlin",
    }


async def done() -> None: ...


async def fails() -> None:
    raise ValueError("no")


async def cancels() -> None:
    raise Cancel("nothing to do")


@pytest.mark.parametrize(("handler", "ends"), [(fails, "error"), (cancels, "ok")])
async def test_how_the_job_ends_is_told_once_after_all_attempts(
    make_app: MakeApp, backend: Backend, run: Run, handler: Any, ends: str
) -> None:
    app = make_app(plugins=[SentryPlugin(monitors="*")])
    await scheduled(app, run, handler)
    assert [each["status"] for each in check_ins(backend)] == ["in_progress", ends]


@pytest.mark.parametrize("header", [None, {"name": "other", "every": 60}, "text", {"name": 5}])
async def test_other_jobs_do_not_check_in(
    make_app: MakeApp, backend: Backend, run: Run, header: object
) -> None:
    app = make_app(plugins=[SentryPlugin(monitors="shop.*")])
    await scheduled(app, run, done, header)
    assert check_ins(backend) == []


async def test_nothing_checks_in_unless_it_is_asked_for(
    app: Soniq, backend: Backend, run: Run
) -> None:
    await scheduled(app, run, done)
    assert check_ins(backend) == []


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"every": 300.0}, {"type": "interval", "value": 5, "unit": "minute"}),
        ({"cron": "0 8 * * mon"}, {"type": "crontab", "value": "0 8 * * mon"}),
        ({"cron": "0 8 1 * mon"}, {"type": "crontab", "value": "0 8 1 * mon"}),
        ({"cron": "0 8 * jul *"}, {"type": "crontab", "value": "0 8 * jul *"}),
        ({"every": 90}, None),
        ({"every": 1}, None),
        ({"cron": "0 0 8 * * *"}, None),
        ({"cron": "0 8 L * *"}, None),
        ({"cron": "0 8 * * mon#1"}, None),
        ({"cron": "0 8 */2 * mon"}, None),
        ({}, None),
    ],
)
def test_what_sentry_cannot_express_is_left_out(
    header: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    config = monitor_config(header)
    assert (config and config["schedule"]) == expected


def test_names_become_slugs_that_stay_apart() -> None:
    assert slug_of("report-42") == "report-42"
    assert slug_of("Shop.report: Mondays") == "shop-report-mondays"
    long = [slug_of("x" * 60 + end) for end in "ab"]
    assert len(set(long)) == 2
    assert all(len(each) <= 50 for each in long)
    assert slug_of("\u00e9") != ""
