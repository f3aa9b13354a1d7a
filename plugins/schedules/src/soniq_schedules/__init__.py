"""Jobs at fixed times: cron expressions in time zones, and intervals; each tick exactly one job."""

from .cron import Cron
from .errors import ScheduleInCode, ScheduleNotFound, ScheduleUnreadable
from .every import Every
from .plugin import Schedules
from .schedule import Schedule
from .several import Several
from .tick import Tick
from .when import When

__all__ = [
    "Cron",
    "Every",
    "Schedule",
    "ScheduleInCode",
    "ScheduleNotFound",
    "ScheduleUnreadable",
    "Schedules",
    "Several",
    "Tick",
    "When",
]
