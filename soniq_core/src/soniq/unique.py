"""Which jobs are the same, for how long, and what a duplicate does."""

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Literal, get_args

import msgspec

from soniq.errors import InvalidOption, JobDefinitionError

Scope = Literal["unfinished", "queued"]
OnConflict = Literal["keep", "replace", "debounce"]


def _check(value: "Dedup | Unique") -> None:
    if value.scope not in get_args(Scope) or value.on_conflict not in get_args(OnConflict):
        raise InvalidOption(
            f"scope is one of {get_args(Scope)}, on_conflict one of {get_args(OnConflict)}; got"
            f" {value}",
            option="unique",
        )


class Dedup(msgspec.Struct, frozen=True):
    """Under which key a job is unique among those of its name, for how long, and what a duplicate
    does.
    """

    key: str
    scope: Scope = "unfinished"
    """`unfinished` holds the key until the job is finished, `queued` until it is first claimed."""
    on_conflict: OnConflict = "keep"
    """`keep` changes nothing; `replace` gives the queued job the new arguments and time; `debounce`
    the new time.
    """

    def __post_init__(self) -> None:
        _check(self)


NO_DEDUP = Dedup("")
"""What a `dedup_key` implementation returns to say that this job is not unique, whatever others
would say.
"""


class Unique(msgspec.Struct, frozen=True, kw_only=True):
    """`unique=` of a job or an enqueue, in full; `True` is `Unique()`. Raises `InvalidOption` for
    what cannot be.
    """

    by: Sequence[str] | None = None
    """The arguments that make two jobs the same: None is all, `()` none, so that there is one job
    of the name.
    """
    scope: Scope = "unfinished"
    """As that of `Dedup`."""
    on_conflict: OnConflict = "keep"
    """As that of `Dedup`."""

    def __post_init__(self) -> None:
        names: object = self.by if self.by is not None else ()
        if (
            isinstance(names, str)
            or not isinstance(names, Collection)
            or not all(isinstance(name, str) for name in names)
        ):
            raise InvalidOption(
                f'by= takes names of parameters, such as ("user_id",); got {self.by!r}',
                option="unique",
            )
        _check(self)

    def unknown(self, parameters: Collection[str]) -> str | None:
        """What is wrong with `by=` for a job with these parameters: the first name that is none of
        them, or None.
        """
        for name in self.by or ():
            if name not in parameters:
                nearest = get_close_matches(name, parameters, 1)
                hint = (
                    f"did you mean {nearest[0]!r}?"
                    if nearest
                    else f"there are {', '.join(parameters) or 'none'}"
                )
                return (
                    f"unique=Unique(by=...) names {name!r}, which is no parameter that is passed to"
                    f" it; {hint}"
                )
        return None


def dedup_of(unique: bool | Unique, key: str) -> Dedup:
    """A key with the scope and the conflict rule that `unique=` names."""
    return (
        Dedup(key, unique.scope, unique.on_conflict) if isinstance(unique, Unique) else Dedup(key)
    )


def check_unique(name: str, unique: bool | Unique, parameters: Collection[str]) -> None:
    """Raise `JobDefinitionError` if `Unique(by=...)` names what is none of these parameters."""
    unknown = unique.unknown(parameters) if isinstance(unique, Unique) else None
    if unknown is not None:
        raise JobDefinitionError(f"{name}: {unknown}", job=name)
