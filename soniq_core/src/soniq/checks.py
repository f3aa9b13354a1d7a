"""What values of options may be: text, seconds, integers, times, headers."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any

from soniq.errors import InvalidOption
from soniq.text import shown

CONTROL = re.compile("[\x01-\x1f\x7f]")

LONGEST = 100 * 365 * 86_400.0

EARLIEST = datetime(1, 1, 3, tzinfo=UTC)
LATEST = datetime(9999, 12, 29, tzinfo=UTC)
"""Between these a time can be written in every time zone."""


def in_seconds(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Options in which a `timedelta` is its seconds."""
    if not any(isinstance(value, timedelta) for value in given.values()):
        return given
    return {
        name: value.total_seconds() if isinstance(value, timedelta) else value
        for name, value in given.items()
    }


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint at the name that was meant, if one of these is near."""
    near = get_close_matches(name, list(names), 1)
    return f"; did you mean {near[0]}=?" if near else ""


def check_text(option: str, value: object, longest: int) -> None:
    """Raise `InvalidOption` unless `value` is text that PostgreSQL can hold and index: 1 to
    `longest` bytes, no NUL.
    """
    if not isinstance(value, str):
        raise InvalidOption(f"{option}= takes text; got {shown(value)}", option=option)
    if "\0" in value or not _is_unicode(value):
        raise InvalidOption(
            f"{option}= cannot hold the character NUL or half of a surrogate pair", option=option
        )
    if not 1 <= len(value.encode()) <= longest:
        raise InvalidOption(
            f"{option}= takes 1 to {longest} bytes of text; got {shown(value)}", option=option
        )


def check_queue(option: str, value: object) -> None:
    """Raise `InvalidOption` unless `value` can be the name of a queue: 1 to 200 bytes, no control
    characters.
    """
    check_text(option, value, 200)
    if CONTROL.search(str(value)):
        raise InvalidOption(
            f"{option}= cannot hold control characters; got {shown(value)}", option=option
        )


def check_seconds(option: str, value: object) -> float | None:
    """Raise `InvalidOption` unless `value` is None or a number of seconds, 0 or more."""
    if value is None:
        return None
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not value - value == 0:
        raise InvalidOption(
            f"{option}= is a number of seconds, or a timedelta; got {shown(value)}", option=option
        )
    if not 0 <= value <= LONGEST:
        raise InvalidOption(
            f"{option}= is between 0 and {LONGEST:g} seconds; got {shown(value)}", option=option
        )
    return float(value)


def check_limit(option: str, value: object) -> float:
    """The seconds that something may take. Raises `InvalidOption`, also for None."""
    seconds = check_seconds(option, value)
    if seconds is None:
        raise InvalidOption(f"{option}= is a number of seconds; got None", option=option)
    return seconds


def check_integer(
    option: str, value: object, lowest: int, highest: int, *, optional: bool = False
) -> None:
    """Raise `InvalidOption` unless `value` is an integer between the bounds, or, `optional`,
    None.
    """
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise InvalidOption(
            f"{option}= is an integer from {lowest} to {highest}; got {shown(value)}", option=option
        )


def check_time(option: str, value: object) -> None:
    """Raise `InvalidOption` unless `value` is a datetime with a time zone."""
    if not isinstance(value, datetime):
        raise InvalidOption(
            f"{option}= takes a datetime with a time zone; got {shown(value)}", option=option
        )
    if value.utcoffset() is None:
        raise InvalidOption(
            f"{option}={value.isoformat()} has no time zone; "
            "use datetime.now(UTC) or .replace(tzinfo=...)",
            option=option,
        )

    try:
        possible = EARLIEST <= value.astimezone(UTC) <= LATEST
    except OverflowError:
        possible = False
    if not possible:
        raise InvalidOption(
            f"{option}={value.isoformat()} is not between {EARLIEST.date()} and {LATEST.date()}"
            " in UTC",
            option=option,
        )


def check_headers(headers: object) -> None:
    """Raise `InvalidOption` unless `headers` are JSON values by name."""
    if not isinstance(headers, Mapping) or not all(isinstance(name, str) for name in headers):
        raise InvalidOption(
            f"headers= takes JSON values by name, as a mapping; got {shown(headers)}",
            option="headers",
        )


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
