"""The options of an enqueue: which names they have, and what their values may be."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from soniq.errors import InvalidOption
from soniq.unique import Unique

CONTROL = re.compile("[\x01-\x1f\x7f]")

LONGEST = 100 * 365 * 86_400.0


class EnqueueOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a call of `enqueue` may say beside the job's arguments. None is "as the job says"."""

    args: Mapping[str, object] | None = None
    """The job's arguments by name, in place of keywords: for names that are options here."""
    connection: Any = None
    """A connection of the caller's, asyncpg's or what a plugin adapts: the job is part of its transaction."""
    dedup_key: str | None = None
    """The job is unique under this key among those of its name, whatever its arguments."""
    delay: float | None = None
    """Seconds until it is due."""
    scheduled_at: datetime | None = None
    """When it is due; with a time zone. A time that is past means now."""
    headers: Mapping[str, Any] | None = None
    """JSON values by name that go along, and that hooks and handlers see."""
    notify: bool = True
    """Whether to wake a waiting worker. False: it is found with the next poll."""
    queue: str | None = None
    priority: int | None = None
    max_attempts: int | None = None
    timeout: float | None = None
    unique: bool | Unique | None = None
    serializer: str | None = None
    tags: Sequence[str] | None = None
    expires: float | datetime | None = None
    """Seconds, or a time with a zone: a job that was not started by then is cancelled."""
    keep: float | None = None
    """Seconds for which it can be looked up once it is finished."""


OPTION_NAMES = frozenset({*EnqueueOptions.__struct_fields__, "retry"})
"""The names that are options of an enqueue, and so are not passed to the job; fixed in version 1."""


def enqueue_options(given: Mapping[str, object]) -> EnqueueOptions:
    """The options as a value. Raises `InvalidOption`, naming the option, for what cannot be."""
    if "retry" in given:
        raise InvalidOption("retry= is an option of the job, not of an enqueue", option="retry")
    options = EnqueueOptions(**given)  # type: ignore[arg-type]
    args: object = options.args
    notify = options.notify
    if args is not None and not (isinstance(args, Mapping) and all(isinstance(name, str) for name in args)):
        raise InvalidOption(f"args= takes the arguments by name, as a mapping; got {args!r}", option="args")
    if not isinstance(notify, bool):
        raise InvalidOption(f"notify= is True or False, not {notify!r}", option="notify")
    if options.scheduled_at is not None:
        if options.delay is not None:
            raise InvalidOption("delay= and scheduled_at= are two ways to say one thing; give one", option="delay")
        check_time("scheduled_at", options.scheduled_at)
    if options.headers is not None:
        check_headers(options.headers)
    if options.dedup_key is not None:
        check_text("dedup_key", options.dedup_key, 2_000)
    check_seconds("delay", options.delay)
    check_common(options)
    return options


def check_common(options: Any) -> None:
    """Check the options that jobs and enqueues share. Raises `InvalidOption`."""
    if options.queue is not None:
        check_queue("queue", options.queue)
    check_integer("priority", options.priority, -32_768, 32_767)
    check_integer("max_attempts", options.max_attempts, 1, 32_767)
    if options.timeout is not None and check_seconds("timeout", options.timeout) == 0:
        raise InvalidOption("timeout= must be more than 0 seconds", option="timeout")
    if not isinstance(options.unique, bool | Unique | None):
        raise InvalidOption(f"unique= is True or False, or Unique(...); got {options.unique!r}", option="unique")
    if options.serializer is not None:
        check_text("serializer", options.serializer, 200)
    if options.tags is not None:
        if isinstance(options.tags, str) or not isinstance(options.tags, Sequence):
            raise InvalidOption(f"tags= takes a list of strings; got {options.tags!r}", option="tags")
        for tag in options.tags:
            check_text("tags", tag, 200)
    if isinstance(options.expires, datetime):
        check_time("expires", options.expires)
    else:
        check_seconds("expires", options.expires)
    check_seconds("keep", options.keep)


def check_text(option: str, value: object, longest: int) -> None:
    """Raise `InvalidOption` unless `value` is text that PostgreSQL can hold and index: 1 to `longest` bytes, no NUL."""
    if not isinstance(value, str):
        raise InvalidOption(f"{option}= takes text; got {value!r:.100}", option=option)
    if "\0" in value or not _is_unicode(value):
        raise InvalidOption(f"{option}= cannot hold the character NUL or half of a surrogate pair", option=option)
    if not 1 <= len(value.encode()) <= longest:
        raise InvalidOption(f"{option}= takes 1 to {longest} bytes of text; got {value!r:.100}", option=option)


def check_queue(option: str, value: object) -> None:
    """Raise `InvalidOption` unless `value` can be the name of a queue: 1 to 200 bytes, no control characters."""
    check_text(option, value, 200)
    if CONTROL.search(str(value)):
        raise InvalidOption(f"{option}= cannot hold control characters; got {value!r}", option=option)


def check_expiry(name: str, options: EnqueueOptions, expires: float | datetime | None) -> None:
    """Raise `InvalidOption` for a job that expires before it is due, as far as no clock need be asked."""
    option = "scheduled_at" if isinstance(expires, datetime) else "delay"
    due = getattr(options, option)
    if due is not None and expires is not None and due >= expires:
        raise InvalidOption(
            f"{name}: {option}= is not before it expires ({expires}), and it would never start", option=option
        )


def check_seconds(option: str, value: object) -> float | None:
    """Raise `InvalidOption` unless `value` is None or a number of seconds, 0 or more."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidOption(f"{option}= is a number of seconds; got {value!r}", option=option)
    if not 0 <= value <= LONGEST:
        raise InvalidOption(f"{option}= is between 0 and {LONGEST:g} seconds; got {value!r}", option=option)
    return float(value)


def check_integer(option: str, value: object, lowest: int, highest: int) -> None:
    """Raise `InvalidOption` unless `value` is None or an integer between the bounds."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise InvalidOption(f"{option}= is an integer from {lowest} to {highest}; got {value!r}", option=option)


def check_time(option: str, value: object) -> None:
    """Raise `InvalidOption` unless `value` is a datetime with a time zone."""
    if not isinstance(value, datetime):
        raise InvalidOption(f"{option}= takes a datetime with a time zone; got {value!r}", option=option)
    if value.utcoffset() is None:
        raise InvalidOption(
            f"{option}={value.isoformat()} has no time zone, and so is no point in time; "
            "datetime.now(UTC) or .replace(tzinfo=...) has one",
            option=option,
        )


def check_headers(headers: object) -> None:
    """Raise `InvalidOption` unless `headers` are JSON values by name."""
    if not isinstance(headers, Mapping) or not all(isinstance(name, str) for name in headers):
        raise InvalidOption(f"headers= takes JSON values by name, as a mapping; got {headers!r:.100}", option="headers")


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
