"""The options of a job: its limits."""

import hashlib
from collections import abc
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar, Literal

import msgspec

from soniq import InvalidOption

Kind = Literal["limit", "sequence", "rate", "fair"]
KINDS: tuple[Kind, ...] = ("limit", "sequence", "rate", "fair")
"""With what names begin; those of plain limits only where a job's own name begins so."""

MOST = 1_000_000
MOST_STARTS = 100_000
"""The most starts that a rate counts: each is a row for as long."""
LONGEST_RATE = 31 * 86_400.0
LONGEST_NAME = 200
LONGEST_VALUE = 200
"""Characters of a value in a key; of a longer one it is the hash."""


class Keyed(msgspec.Struct, frozen=True, kw_only=True):
    """What limits have in common: what they count together.

    `by`: the name of an argument, for a limit of each of its values. `name`: jobs that name one
    share it; by default it is that of the job.
    """

    by: str | None = None
    name: str | None = None

    kind: ClassVar[Kind]

    def __post_init__(self) -> None:
        for option in ("by", "name"):
            check_name(option, getattr(self, option))
        if self.name is not None and _told(self.name):
            raise InvalidOption(
                f"no name begins with {', '.join(KINDS)} and a space; got {self.name!r:.100}",
                option="name",
            )

    @property
    def number(self) -> int:
        """What is counted up to."""
        return 1

    @property
    def seconds(self) -> float | None:
        """How long a start counts, of a rate."""
        return None

    def name_in(self, job: str) -> str:
        """The limit's name, for a job of this name. All but the plain limits say what they are, and
        these, too, where they would say something else.
        """
        name = self.name or (f"{job}/{self.by}" if self.by else job)
        return name if self.kind == "limit" and not _told(name) else f"{self.kind} {name}"

    def key_for(
        self, job: str, arguments: Mapping[str, object], types: Mapping[str, object]
    ) -> str:
        """The key of a job with these arguments, of these types: those with one key are counted
        together.
        """
        name = self.name_in(job)
        if self.by is None:
            return name
        return f"{name}[{_text(arguments.get(self.by), types.get(self.by, Any))}]"


class Limit(Keyed, frozen=True):
    """At most `n` of these jobs run at once, in all workers together: `@eq.job(Limit(5))`.

    `by`: the name of an argument, for so many of each of its values. `name`: jobs that name one
    limit share it; by default a limit is that of the job. Raises `InvalidOption`.
    """

    n: int

    kind: ClassVar[Kind] = "limit"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("n", self.n, 1, MOST)

    @property
    def number(self) -> int:
        return self.n


class Rate(Keyed, frozen=True):
    """At most `n` attempts at these jobs start in any `per` seconds, in all workers together:
    `@eq.job(Rate(100, per=60))`.

    `n`: 1 to 100,000. `per`: seconds, or a `timedelta`, 1 to 31 days. `by` and `name` as those of a
    `Limit`. Raises `InvalidOption`.
    """

    n: int
    per: float | timedelta

    kind: ClassVar[Kind] = "rate"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("n", self.n, 1, MOST_STARTS)
        per = _seconds(self.per)
        if per is None or not 1 <= per <= LONGEST_RATE:
            raise InvalidOption(
                f"Rate takes per= of 1 second to 31 days, in seconds; got {self.per!r:.100}",
                option="per",
            )

    @property
    def number(self) -> int:
        return self.n

    @property
    def seconds(self) -> float | None:
        return _seconds(self.per)


class Fair(Keyed, frozen=True):
    """At most `ahead` of these jobs wait in a queue at once, of each value of the argument `by`:
    who has many keeps nobody else waiting for more than these. `@eq.job(Fair(by="tenant"))`.

    They run as fast as workers take them. `name` as that of a `Limit`. Raises `InvalidOption`.
    """

    ahead: int = 50

    kind: ClassVar[Kind] = "fair"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("ahead", self.ahead, 1, MOST)
        if self.by is None:
            raise InvalidOption("Fair takes by=, the argument whose values take turns", option="by")

    @property
    def number(self) -> int:
        return self.ahead


class Sequence(Keyed, frozen=True):
    """These jobs run strictly one after the other, in the order in which they came in, also through
    retries: `@eq.job(Sequence(by="customer"))`.

    `by`: the name of an argument, for a sequence of each of its values. `name`: jobs that name one
    sequence share it. Raises `InvalidOption`.
    """

    kind: ClassVar[Kind] = "sequence"


class AllOf:
    """Several limits on one job, which runs when all have room: `AllOf(Limit(20), Limit(2,
    by="customer"))`. Raises `InvalidOption`.
    """

    def __init__(self, *limits: Limit | Rate | Fair) -> None:
        given: abc.Sequence[object] = limits
        if not given or not all(isinstance(each, Limit | Rate | Fair) for each in given):
            raise InvalidOption(
                f"AllOf takes limits, rates and Fair; got {given!r:.100}", option="limits"
            )
        self.limits: abc.Sequence[Keyed] = limits

    def __repr__(self) -> str:
        return f"AllOf({', '.join(map(repr, self.limits))})"


def _seconds(given: object) -> float | None:
    """Seconds, of a number or a `timedelta`; None for what is none."""
    if isinstance(given, timedelta):
        return given.total_seconds()
    if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) < 1e12:
        return None
    return float(given)


def kind_of(name: str) -> Kind:
    """What a limit of this name, or a key, is."""
    return _told(name) or "limit"


def _told(name: str) -> Kind | None:
    """What a name says that it is, if it does."""
    return next((kind for kind in KINDS if name.startswith(f"{kind} ")), None)


def check_number(option: str, number: object, least: int, most: int) -> None:
    """Refuse what is no whole number between these."""
    if type(number) is not int or not least <= number <= most:
        raise InvalidOption(
            f"{option} is a whole number from {least} to {most:,}; got {number!r:.100}",
            option=option,
        )


def check_name(option: str, name: object) -> None:
    """Refuse what cannot be the name of a limit or of an argument."""
    if name is None:
        return
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not _can_be_stored(name):
        raise InvalidOption(
            f"{option} is a text of 1 to {LONGEST_NAME} characters; got {name!r:.100}",
            option=option,
        )
    if "[" in name:
        raise InvalidOption(
            f"{option} {name!r} holds a bracket, behind which a key has its value", option=option
        )


def _can_be_stored(text: str) -> bool:
    return "\0" not in text and text.encode("utf-8", "ignore").decode() == text


def _text(value: object, kind: Any) -> str:
    """The value of an argument in a key, as one of its type: a UUID and its text are the same."""
    if type(value) is not kind:
        with suppress(msgspec.MsgspecError, TypeError):  # a type of a plugin's
            value = msgspec.json.decode(msgspec.json.encode(value, enc_hook=str), type=kind)
    text = msgspec.json.encode(value, enc_hook=str, order="deterministic").decode()
    if len(text) <= LONGEST_VALUE:
        return text
    return hashlib.sha256(text.encode()).hexdigest()
