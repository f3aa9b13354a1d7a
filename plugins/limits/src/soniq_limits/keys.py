"""Which keys a job has: what its limits count it under."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from soniq import JobContext, Soniq
from soniq.errors import JobDefinitionError
from soniq.plugin import JobDefinition, TransactionConnection

from .database import NAME, statement
from .limit import AllOf, Fair, Keyed, Limit, Rate, check_name, kind_of
from .limit import Sequence as InOrder

HEADER = "soniq-limits"
"""The header with a job's keys."""


class Keys:
    """The limits of an app's jobs."""

    def __init__(self) -> None:
        self._limits: dict[str, Sequence[Keyed]] = {}
        self._defaults: dict[str, Mapping[str, object]] = {}
        self._types: dict[str, Mapping[str, object]] = {}
        self._declared: dict[str, tuple[Keyed, str]] = {}
        self._rates: dict[str, float] = {}

    def read(self, job: JobDefinition) -> bool:
        """Read the limits of a job; whether it has any. Raises `JobDefinitionError`."""
        limits = _given(job)
        if not limits:
            return False

        parameters = inspect.signature(job.function).parameters
        for limit in limits:
            self._check(job.name, limit, list(parameters))
        self._limits[job.name] = limits
        self._rates.pop(job.name, None)
        if times := [each.seconds for each in limits if each.seconds is not None]:
            self._rates[job.name] = min(times)
        self._types[job.name] = job.hints
        self._defaults[job.name] = {
            name: each.default
            for name, each in parameters.items()
            if each.default is not inspect.Parameter.empty
        }
        return True

    def _check(self, job: str, limit: Keyed, parameters: Sequence[str]) -> None:
        if limit.by is not None and limit.by not in parameters:
            raise JobDefinitionError(f"{job}: it has no argument {limit.by!r}, as {limit}", job=job)
        name = limit.name_in(job)
        check_name("name", name)
        first, other = self._declared.setdefault(name, (limit, job))
        if _says(first) != _says(limit):
            raise JobDefinitionError(
                f"{job}: the limit {name!r} is {_says(first)} in the job {other}, and"
                f" {_says(limit)} here",
                job=job,
            )

    @property
    def declared(self) -> Mapping[str, Keyed]:
        """The limits by name, as the code says them."""
        return {name: limit for name, (limit, _) in self._declared.items()}

    def rate_of(self, job: str) -> float | None:
        """The shortest time of the job's rates, in seconds; None where it has none."""
        return self._rates.get(job)

    def __contains__(self, job: str) -> bool:
        return job in self._limits

    def __bool__(self) -> bool:
        return bool(self._limits)

    def of(self, job: str, arguments: Mapping[str, object]) -> list[str]:
        """The keys of a job with these arguments."""
        types = self._types[job]
        return sorted({each.key_for(job, arguments, types) for each in self._limits[job]})

    def rates_of(self, ctx: JobContext) -> list[str]:
        """The keys of an attempt's rates."""
        keys = keys_in(ctx.headers)
        if keys is None and ctx.job_name in self._limits:
            keys = self._of_passed(ctx.job_name, ctx.args or {})
        return [each for each in keys or () if kind_of(each) == "rate"]

    async def of_rows(
        self, app: Soniq, tx: TransactionConnection, ids: Iterable[str]
    ) -> dict[str, list[str]]:
        """The keys of jobs in the table, by id; of those that came in without them from their
        arguments. None for a job that has no limit, here or where it came from.
        """
        sql = statement(app.plugin_schema(NAME), "jobs")
        return {str(row["id"]): await self._of_row(app, row) for row in await tx.fetch(sql, [*ids])}

    async def _of_row(self, app: Soniq, row: Mapping[str, Any]) -> list[str]:
        name = row["name"]
        found = keys_in(msgspec.json.decode(row["headers"] or "{}"))
        if found is not None or name not in self._limits:
            return found or []
        passed = await app.load_arguments(name, row["args"], serializer=row["serializer"])
        return self._of_passed(name, passed)

    def _of_passed(self, job: str, arguments: Mapping[str, object]) -> list[str]:
        """The keys of a job that came in with these arguments."""
        return self.of(job, {**self._defaults[job], **arguments})


def in_sequence_only(headers: Mapping[str, Any]) -> bool:
    """Whether a job with these headers has sequences and no other limit: it keeps its slot until it
    ends.
    """
    keys = keys_in(headers)
    return bool(keys) and all(kind_of(each) == "sequence" for each in keys or ())


def rates_in(headers: Mapping[str, Any]) -> list[str]:
    """The keys of rates that a job's headers have."""
    return [each for each in keys_in(headers) or () if kind_of(each) == "rate"]


def _given(job: JobDefinition) -> Sequence[Keyed]:
    """The limits that a job is given. Raises `JobDefinitionError`."""
    given = [job.option(kind) for kind in (Limit, Rate, Fair)]
    alone: list[Keyed] = [each for each in given if each is not None]
    several, in_order = job.option(AllOf), job.option(InOrder)
    if alone and several is not None:
        raise JobDefinitionError(
            f"{job.name}: give all of its limits in one AllOf(...)", job=job.name
        )

    limits = alone if several is None else several.limits
    if in_order is None:
        return limits
    if limits:
        raise JobDefinitionError(
            f"{job.name}: a job in a Sequence has no other limit", job=job.name
        )
    return [in_order]


def _says(limit: Keyed) -> str:
    """What all that share a limit are to say of it."""
    return f"{limit.number}" if limit.seconds is None else f"{limit.number} in {limit.seconds:g} s"


def keys_in(headers: Mapping[str, Any]) -> list[str] | None:
    """The keys that a job's headers have, if any."""
    found = headers.get(HEADER)
    return found if isinstance(found, list) else None
