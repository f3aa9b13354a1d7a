"""The options of a job: its limits."""

import hashlib
from collections import abc
from collections.abc import Mapping

import msgspec

from soniq import InvalidOption

MOST = 1_000_000
LONGEST_NAME = 200
SEQUENCE = "sequence "
"""How the name of what holds a sequence begins."""
LONGEST_VALUE = 200
"""Characters of a value in a key; of a longer one it is the hash."""


class Limit(msgspec.Struct, frozen=True):
    """At most `n` of these jobs run at once, in all workers together: `@eq.job(Limit(5))`.

    `by`: the name of an argument, for so many of each of its values. `name`: jobs that name one
    limit share it; by default a limit is that of the job. Raises `InvalidOption`.
    """

    n: int
    by: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if type(self.n) is not int or not 1 <= self.n <= MOST:
            raise InvalidOption(
                f"Limit takes a whole number from 1 to {MOST:,}; got {self.n!r:.100}", option="n"
            )
        for option in ("by", "name"):
            check_name(option, getattr(self, option))

    def name_in(self, job: str) -> str:
        """The limit's name, for a job of this name."""
        return self.name or (f"{job}/{self.by}" if self.by else job)

    def key_for(self, job: str, arguments: Mapping[str, object]) -> str:
        """The key of a job with these arguments: those with one key are counted together."""
        name = self.name_in(job)
        return f"{name}[{_text(arguments.get(self.by))}]" if self.by else name


class Sequence(msgspec.Struct, frozen=True):
    """These jobs run strictly one after the other, in the order in which they came in, also through
    retries: `@eq.job(Sequence(by="customer"))`.

    `by`: the name of an argument, for a sequence of each of its values. `name`: jobs that name one
    sequence share it. Raises `InvalidOption`.
    """

    by: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        Limit(1, by=self.by, name=self.name)

    def as_limit(self, job: str) -> Limit:
        """What holds a job of this name in its sequence."""
        name = Limit(1, by=self.by, name=self.name).name_in(job)
        return Limit(1, by=self.by, name=SEQUENCE + name)


class AllOf:
    """Several limits on one job, which runs when all have room: `AllOf(Limit(20), Limit(2,
    by="customer"))`. Raises `InvalidOption`.
    """

    def __init__(self, *limits: Limit) -> None:
        given: abc.Sequence[object] = limits
        if not given or not all(isinstance(each, Limit) for each in given):
            raise InvalidOption(f"AllOf takes limits; got {given!r:.100}", option="limits")
        self.limits: abc.Sequence[Limit] = limits

    def __repr__(self) -> str:
        return f"AllOf({', '.join(map(repr, self.limits))})"


def check_name(option: str, name: object) -> None:
    """Refuse what cannot be the name of a limit or of an argument."""
    if name is None:
        return
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or "\0" in name:
        raise InvalidOption(
            f"{option} is a text of 1 to {LONGEST_NAME} characters; got {name!r:.100}",
            option=option,
        )
    if "[" in name:
        raise InvalidOption(
            f"{option} {name!r} holds a bracket, behind which a key has its value", option=option
        )


def _text(value: object) -> str:
    """The value of an argument in a key."""
    text = msgspec.json.encode(value, enc_hook=str, order="deterministic").decode()
    if len(text) <= LONGEST_VALUE:
        return text
    return hashlib.sha256(text.encode()).hexdigest()
