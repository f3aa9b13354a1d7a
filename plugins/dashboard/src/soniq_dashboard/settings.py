"""The plugin's settings: its arguments, else the environment, else defaults."""

import os
from datetime import timedelta
from typing import NamedTuple

from soniq import ConfigurationError

from .writing import TIERS

LONGEST = 100 * 365 * 86_400.0
DAY = 86_400.0


class Setting(NamedTuple):
    """A number of seconds: its name as an argument, its default, and the bounds."""

    name: str
    default: float
    least: float
    most: float = LONGEST

    @property
    def variable(self) -> str:
        """The environment variable that may say it."""
        return f"SONIQ_DASHBOARD_{self.name.upper()}"


KEEP = {
    1: Setting("keep_1m", 2 * DAY, 3_600.0),
    10: Setting("keep_10m", 8 * DAY, 3_600.0),
    60: Setting("keep_1h", 90 * DAY, 3_600.0),
}
"""For how long rows of each tier are kept."""
INTERVAL = Setting("interval", 60.0, 1.0, 600.0)
"""Between two writings of a worker."""

assert set(KEEP) == set(TIERS)


def seconds(setting: Setting, given: float | timedelta | None) -> float:
    """The argument, else the environment variable, else the default. Raises
    `ConfigurationError`.
    """
    value = os.environ.get(setting.variable) or setting.default if given is None else given
    try:
        found = value.total_seconds() if isinstance(value, timedelta) else float(value)
    except (TypeError, ValueError):
        found = -1.0
    if not setting.least <= found <= setting.most:
        where = setting.variable if given is None else f"Dashboard({setting.name}=)"
        raise ConfigurationError(
            f"{where} is a number of seconds, {setting.least:.0f} to {setting.most:.0f}; got"
            f" {value!r}"
        )
    return found
