"""The options of a job and of an enqueue: their names, what they may be, and what they mean
together.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

import msgspec

from soniq.backoff import Backoff
from soniq.checks import (
    check_headers,
    check_integer,
    check_queue,
    check_seconds,
    check_text,
    check_time,
    in_seconds,
    nearest,
)
from soniq.errors import InvalidOption
from soniq.job.context import JobContext
from soniq.settings import Settings
from soniq.signals import Cancel, Retry, Signal
from soniq.text import shown
from soniq.unique import Unique

RetryPolicy = (
    float
    | timedelta
    | Sequence[float | timedelta]
    | Backoff
    | Callable[[JobContext, BaseException], float | Retry | Cancel | None]
)
"""`retry=` of a job: seconds, a list of them (one for each retry, the last for all that follow), a
`Backoff`, or a callable of context and error that returns seconds, `Retry(delay)`, `Cancel(reason)`
or None (ask the plugins, then the default).
"""


class JobOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a job as its author gave them; None is "not said", for plugins and settings to
    fill.
    """

    queue: str | None = None
    priority: int | None = None
    max_attempts: int | None = None
    timeout: float | None = None
    retry: RetryPolicy | None = None
    unique: bool | Unique = False
    serializer: str | None = None
    tags: tuple[str, ...] = ()
    expires: float | None = None
    keep: float | None = None
    keep_dead: float | None = None
    hide: tuple[str, ...] = ()


class EffectiveOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options that hold for a job: its own, completed by the app's settings, or those of one
    enqueue, completed by the job's.
    """

    queue: str = "default"
    priority: int = 0
    max_attempts: int
    timeout: float | None = None
    retry: RetryPolicy | None = None
    unique: bool | Unique = False
    serializer: str = "json"
    tags: Sequence[str] = ()
    expires: float | datetime | None = None
    keep: float
    keep_dead: float | None = None
    hide: Sequence[str] = ()


class JobKeywords(TypedDict, total=False):
    """The options of a job, as keywords of the decorator."""

    queue: str | None
    priority: int | None
    max_attempts: int | None
    timeout: float | timedelta | None
    retry: RetryPolicy | None
    unique: bool | Unique
    serializer: str | None
    tags: Sequence[str]
    expires: float | timedelta | None
    keep: float | timedelta | None
    keep_dead: float | timedelta | None
    hide: Sequence[str]


class EnqueueKeywords(TypedDict, total=False):
    """The options of an enqueue, as keywords of `using`; what they mean is in `EnqueueOptions`."""

    connection: Any
    dedup_key: str | None
    delay: float | timedelta | None
    scheduled_at: datetime | None
    headers: Mapping[str, Any] | None
    notify: bool
    queue: str | None
    priority: int | None
    max_attempts: int | None
    timeout: float | timedelta | None
    unique: bool | Unique | None
    serializer: str | None
    tags: Sequence[str] | None
    expires: float | timedelta | datetime | None
    keep: float | timedelta | None
    keep_dead: float | timedelta | None


class EnqueueOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a call of `enqueue` may say beside the job's arguments. None is "as the job says"."""

    args: Mapping[str, object] | None = None
    """The job's arguments by name, in place of keywords: for names that are options here."""
    connection: Any = None
    """A connection of the caller's, asyncpg's or what a plugin adapts: the job is part of its
    transaction.
    """
    dedup_key: str | None = None
    """The job is unique under this key among those of its name, whatever its arguments."""
    delay: float | None = None
    """Seconds until it is due; a `timedelta` is taken for seconds here and below."""
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
    """Seconds for which it can be looked up once it is done or cancelled."""
    keep_dead: float | None = None
    """Seconds for which it is kept if it ends dead."""


NONE_GIVEN = EnqueueOptions()

SHARED = {*EnqueueOptions.__struct_fields__} & {*EffectiveOptions.__struct_fields__}
"""The options of an enqueue that a job has, too."""

OPTION_NAMES = frozenset({*EnqueueOptions.__struct_fields__, "retry"})
"""The names that are options of an enqueue, and so are not passed to the job; fixed in version 1.
"""


def job_options(given: Mapping[str, Any]) -> JobOptions:
    """The options of a job as a value. Raises `InvalidOption`, naming the option, for what cannot
    be.
    """
    for option in given:
        if option not in JobOptions.__struct_fields__:
            names = ("name", *JobOptions.__struct_fields__)
            hint = nearest(option, names) or f"; there are {', '.join(names)}"
            raise InvalidOption(f"job has no option {option}={hint}", option=option)

    given = in_seconds(given)
    if isinstance(given.get("retry"), list | tuple):
        given = {**given, "retry": _delays(given["retry"])}
    options = JobOptions(**given)
    check_common(options)
    _check_retry(options.retry)
    _check_texts("hide", options.hide)
    return msgspec.structs.replace(
        options, tags=tuple(options.tags or ()), hide=tuple(options.hide or ())
    )


def _delays(given: Sequence[object]) -> tuple[float, ...]:
    """The seconds before each retry."""
    if not given:
        raise InvalidOption("retry= is an empty list; max_attempts=1 is no retry", option="retry")
    return tuple(check_seconds("retry", each) or 0.0 for each in given)


def _check_retry(retry: object) -> None:
    if inspect.isclass(retry) or isinstance(retry, Signal):
        raise InvalidOption(
            "retry= takes seconds, a list of them, a Backoff(...), or a callable of context and"
            f" error; got {retry!r}",
            option="retry",
        )
    if not callable(retry) and not isinstance(retry, Backoff | tuple):
        check_seconds("retry", retry)


def enqueue_options(given: Mapping[str, object]) -> EnqueueOptions:
    """The options as a value. Raises `InvalidOption`, naming the option, for what cannot be."""
    if not given:
        return NONE_GIVEN
    if "retry" in given:
        raise InvalidOption("retry= is an option of the job, not of an enqueue", option="retry")

    options = EnqueueOptions(**in_seconds(given))
    args: object = options.args
    notify = options.notify
    if args is not None and not (
        isinstance(args, Mapping) and all(isinstance(name, str) for name in args)
    ):
        raise InvalidOption(
            f"args= takes the arguments by name, as a mapping; got {shown(args)}", option="args"
        )
    if not isinstance(notify, bool):
        raise InvalidOption(f"notify= is True or False; got {shown(notify)}", option="notify")

    if options.scheduled_at is not None:
        if options.delay is not None:
            raise InvalidOption(
                "delay= and scheduled_at= exclude each other; give one of them", option="delay"
            )
        check_time("scheduled_at", options.scheduled_at)
    check_seconds("delay", options.delay)

    if options.headers is not None:
        check_headers(options.headers)
    if options.dedup_key is not None:
        check_text("dedup_key", options.dedup_key, 2_000)
    check_common(options)
    return options


def effective(said: object, settings: Settings) -> EffectiveOptions:
    """The options of a job, where it says nothing those of the app; `said` has them as attributes,
    None where it says nothing.
    """
    given = {
        name: value
        for name in EffectiveOptions.__struct_fields__
        if (value := getattr(said, name)) is not None
    }
    return EffectiveOptions(
        **{"max_attempts": settings.max_attempts, "keep": settings.keep, **given}
    )


def for_enqueue(
    given: Iterable[str], call: EnqueueOptions, job: EffectiveOptions
) -> EffectiveOptions:
    """The options of an enqueue, where it says nothing those of its job; `given` are the names of
    those that it says.
    """
    said = {
        name: value
        for name in given
        if name in SHARED and (value := getattr(call, name)) is not None
    }
    return msgspec.structs.replace(job, **said) if said else job


def extras(call: EnqueueOptions, options: EffectiveOptions) -> dict[str, object]:
    """The options that few jobs have, as rows are given them: of plain types, whatever library's
    numbers and texts were given.

    A timeout is in the row where the enqueue names one; that of the job is read when it runs.
    """
    extra: dict[str, object] = {}
    if call.delay:
        extra["delay"] = float(call.delay)
    if call.scheduled_at is not None:
        extra["at"] = _in_utc(call.scheduled_at)
    if call.timeout is not None:
        extra["timeout"] = float(call.timeout)

    if isinstance(options.expires, datetime):
        extra["expires_at"] = _in_utc(options.expires)
    elif options.expires is not None:
        extra["expires"] = float(options.expires)
    if options.keep_dead is not None:
        extra["keep_dead"] = float(options.keep_dead)
    if options.tags:
        extra["tags"] = [str.__str__(tag) for tag in options.tags]
    return extra


def _in_utc(time: datetime) -> datetime:
    """The time as JSON holds it: an offset has no seconds there."""
    return time.astimezone(UTC)


def check_common(options: Any) -> None:
    """Check the options that jobs and enqueues share. Raises `InvalidOption`."""
    if options.queue is not None:
        check_queue("queue", options.queue)
    check_integer("priority", options.priority, -32_768, 32_767, optional=True)
    check_integer("max_attempts", options.max_attempts, 1, 32_767, optional=True)
    if options.timeout is not None and check_seconds("timeout", options.timeout) == 0:
        raise InvalidOption("timeout= must be more than 0 seconds", option="timeout")

    if not isinstance(options.unique, bool | Unique | None):
        raise InvalidOption(
            f"unique= is True or False, or Unique(...); got {shown(options.unique)}",
            option="unique",
        )
    if options.serializer is not None:
        check_text("serializer", options.serializer, 200)
    _check_texts("tags", options.tags)

    if isinstance(options.expires, datetime):
        check_time("expires", options.expires)
    else:
        check_seconds("expires", options.expires)
    check_seconds("keep", options.keep)
    check_seconds("keep_dead", options.keep_dead)


def _check_texts(option: str, texts: object) -> None:
    if texts is None:
        return
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise InvalidOption(f"{option}= takes a list of strings; got {shown(texts)}", option=option)
    for text in texts:
        check_text(option, text, 200)


def check_expiry(name: str, options: EnqueueOptions, expires: float | datetime | None) -> None:
    """Raise `InvalidOption` for a job that expires before it is due, as far as no clock need be
    asked.
    """
    option = "scheduled_at" if isinstance(expires, datetime) else "delay"
    due = getattr(options, option)
    if due is not None and expires is not None and due >= expires:
        raise InvalidOption(
            f"{name}: {option}= is not before it expires ({expires}), and it would never start",
            option=option,
        )
