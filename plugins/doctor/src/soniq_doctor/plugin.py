"""The plugin: its option, and the task that watches."""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from soniq import ConfigurationError, Soniq, hookimpl
from soniq.plugin import Task

from .alarm import HorizonAlarm

if TYPE_CHECKING:
    from soniq_dashboard import Alert, Panel

VARIABLE = "SONIQ_DOCTOR_HORIZON_ALARM"
DEFAULT = 300.0
LONGEST = 100 * 365 * 86_400.0


class DoctorPlugin:
    """Warns where something keeps PostgreSQL from cleaning up, in one worker at a time.

    `horizon_alarm`: seconds for which a transaction may do so before that, else
    SONIQ_DOCTOR_HORIZON_ALARM, else 300; 0: no warnings. Raises `ConfigurationError`.
    """

    name = "doctor"

    def __init__(self, horizon_alarm: float | timedelta | None = None) -> None:
        self.horizon_alarm = _seconds(horizon_alarm)

    @hookimpl
    def background_tasks(self, app: Soniq) -> list[Task]:
        if not self.horizon_alarm:
            return []
        alarm = HorizonAlarm(app, self.horizon_alarm)
        return [Task(name="horizon", run=alarm.run, elected=True)]

    @hookimpl(optionalhook=True)
    async def dashboard_system_panels(self, app: Soniq) -> "Sequence[Panel]":
        from .on_dashboard import panels

        return await panels(app)

    @hookimpl(optionalhook=True)
    async def dashboard_alerts(self, app: Soniq) -> "Sequence[Alert]":
        from .on_dashboard import alerts

        return await alerts(app, self.horizon_alarm) if self.horizon_alarm else ()


def _seconds(given: float | timedelta | None) -> float:
    """The argument, else the environment variable, else the default."""
    value = os.environ.get(VARIABLE) or DEFAULT if given is None else given
    try:
        seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds <= LONGEST:
        where = VARIABLE if given is None else "DoctorPlugin(horizon_alarm=)"
        raise ConfigurationError(
            f"{where} is a number of seconds, 0 to {LONGEST:.0f}; got {value!r}"
        )
    return seconds
