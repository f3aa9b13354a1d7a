"""What a worker whose plugins have tasks of their own says of an outage: no more than one without."""

import asyncio
import logging

import pytest

from soniq import Soniq
from soniq_limits import Limits
from soniq_otel import OtelPlugin
from soniq_schedules import Every, Schedules
from tests.conftest import MakeApp
from tests.support.jobs import finished, working
from tests.support.proxy import Proxy
from tests.support.waiting import eventually


async def test_an_outage_is_two_lines_whatever_plugins_do_meanwhile(
    make_app: MakeApp, app: Soniq, proxy: Proxy, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "soniq")
    far = make_app(
        database_url=proxy.url(database_url),
        connect_timeout=1,
        lease=20,
        plugins=[Schedules(), Limits(), OtelPlugin(gauge_interval=0.2)],
    )

    @far.job(Every(seconds=1), name="nothing")
    async def nothing() -> None: ...

    async def back() -> bool:
        return any("is available again" in record.getMessage() for record in caplog.records)

    async with working(far):
        await finished(app, await far.enqueue(nothing))
        caplog.clear()
        proxy.refuse()
        await asyncio.sleep(2)  # several turns of each task
        proxy.restore()
        await eventually(back)
        await finished(app, await far.enqueue(nothing))
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    told = [each for each in told if "were missed" not in each]  # as the outage was longer
    assert len(told) == 2, told
    assert all(each.startswith("PostgreSQL at") for each in told)
