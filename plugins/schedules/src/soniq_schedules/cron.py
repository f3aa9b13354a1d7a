"""Cron expressions, in a time zone."""

from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from soniq import InvalidOption

from .wall import first_after
from .when import MOMENT, When, invalid, shown

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FIELDS = {
    "second": "0 to 59",
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, L (the last) or LW (the last that is no weekend)",
    "month": "1 to 12, or jan to dec",
    "day-of-week": "0 to 7 (0 and 7 are Sunday), or sun to sat; mon#1 is the first, 1L the last",
}
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Cron(When, frozen=True, omit_defaults=True, tag="cron"):
    """A job runs whenever a cron expression comes: `Cron("30 2 * * *", tz="Europe/Berlin")`.

    Five fields: minute, hour, day of the month, month, day of the week; six begin with the second.
    As in Debian's cron, one of the two days is enough where neither begins with `*`. Also
    `@hourly`, `@daily` (`@midnight`), `@weekly`, `@monthly` and `@yearly` (`@annually`). Raises
    `InvalidOption` for what cannot be, also for an expression that never comes.
    """

    expression: str
    tz: str = "UTC"
    """The name of a time zone, such as "Europe/Berlin"."""

    @property
    def fields(self) -> str:
        """The expression in five or six fields."""
        return _in_fields(self.expression)

    def describe(self) -> str:
        return f"{self.expression} {self.tz}"

    def about(self) -> dict[str, Any]:
        return {"cron": self.fields, "tz": self.tz}

    def _following(self, moment: datetime, anchor: datetime) -> datetime | None:
        return first_after(self.fields, ZoneInfo(self.tz), moment)

    def _shown(self, tick: datetime) -> datetime:
        return tick.astimezone(ZoneInfo(self.tz))

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_zone(self.tz)
        _check_fields(self.expression)
        if self._never():
            between = f" between {self.start} and {self.end}" if self.start and self.end else ""
            raise InvalidOption(
                f"Cron({self.expression!r}) never comes{between}", option="expression"
            )

    def _never(self) -> bool:
        """Whether there is no tick at all; one whose end is past has had its time."""
        if self.start is None:
            return self._following(LONG_AGO, LONG_AGO) is None
        return self.next_after(self.start.astimezone(UTC) - MOMENT) is None


def _check_zone(name: object) -> None:
    """Raise `InvalidOption` unless this computer knows the time zone."""
    if isinstance(name, str) and name in _zones():
        return
    told = name.key or "" if isinstance(name, ZoneInfo) else shown(name)
    names = {zone.casefold(): zone for zone in _zones()}
    nearest = get_close_matches(told.strip("'").casefold(), names, 1)
    hint = f"; did you mean {names[nearest[0]]!r}?" if nearest else "; they are as Europe/Berlin"
    if not _zones():
        hint = ": this computer has no time zones; install tzdata (pip install tzdata)"
    raise InvalidOption(f"Cron: tz= {shown(name)} is no time zone{hint}", option="tz")


@cache
def _zones() -> frozenset[str]:
    """All but those that are another one on another computer, or none."""
    return frozenset(available_timezones() - {"localtime", "Factory"})


def _check_fields(expression: object) -> None:
    """Raise `InvalidOption`, naming the field, for an expression that cannot be read."""
    if not isinstance(expression, str):
        raise invalid("Cron", "expression", "is text", expression)
    said = _in_fields(expression).split()
    try:
        CronSim(" ".join(said), LONG_AGO)
        return
    except CronSimError as error:
        why = str(error)
    except (ValueError, AssertionError, RecursionError) as error:  # such as a step of 1L
        why = str(error)

    field = why.removeprefix("Bad ")
    names = list(FIELDS)[-len(said) :]
    if expression.lstrip().startswith("@"):
        every = "every" in expression
        hint = "an interval is Every(minutes=5)" if every else f"there are {', '.join(NICKNAMES)}"
    elif len(said) not in (5, 6):
        hint = f"it has 5 or 6 fields; these are {len(said)}"
    elif field in names:
        hint = f"the {field} {said[names.index(field)]!r} cannot be; it takes {FIELDS[field]}"
    else:
        hint = f"it cannot be read {why}".rstrip()
    raise InvalidOption(f"Cron({expression!r:.100}): {hint}", option="expression")


def _in_fields(expression: str) -> str:
    return NICKNAMES.get(expression.strip().lower(), expression)
