"""An app with schedules, and a look at its rows."""

from datetime import UTC, datetime, timedelta

import pytest

from soniq import Soniq
from soniq_schedules import Schedules
from soniq_schedules.ticker import Ticker
from tests.conftest import MakeApp
from tests.support.schemas import Plugins


@pytest.fixture
def tables_of() -> Plugins:
    return (Schedules,)


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    """An app with the plugin."""
    return make_app(plugins=[Schedules()])


def plugin_of(app: Soniq) -> Schedules:
    """The plugin of an app."""
    return app.plugin(Schedules)


def ticker_of(app: Soniq) -> Ticker:
    """What the elected worker of this app runs."""
    plugin = plugin_of(app)
    return Ticker(app, plugin._code, plugin._serializers())


async def set_back(app: Soniq, name: str, **ago: float) -> datetime:
    """Let a schedule be due since so long ago, as if nobody had looked; the tick that is due. An
    interval is counted from half an hour before a full hour of its own.
    """
    schedule = await plugin_of(app).get(name)
    assert schedule.when is not None
    anchor = schedule.anchor - timedelta(days=3_650, minutes=30)
    moment = datetime.now(UTC) - timedelta(**ago)
    due = schedule.when.next_after(moment - timedelta(microseconds=1), anchor)
    async with app.connection() as connection:
        await connection.execute(
            f"update {app.plugin_schema('schedules')}.schedule"
            " set next_at = $2, wake_at = $2, anchor = $3 where name = $1",
            name, due, anchor,
        )  # fmt: skip
    assert due is not None
    return due
