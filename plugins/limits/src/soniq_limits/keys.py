"""Which keys a job has: what its limits count it under."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from soniq import Soniq
from soniq.errors import JobDefinitionError
from soniq.plugin import JobDefinition, TransactionConnection

from .database import NAME, statement
from .limit import SEQUENCE, AllOf, Limit, check_name
from .limit import Sequence as InOrder

HEADER = "soniq-limits"
"""The header with a job's keys."""


class Keys:
    """The limits of an app's jobs."""

    def __init__(self) -> None:
        self._limits: dict[str, Sequence[Limit]] = {}
        self._defaults: dict[str, Mapping[str, object]] = {}
        self._numbers: dict[str, tuple[int, str]] = {}

    def read(self, job: JobDefinition) -> bool:
        """Read the limits of a job; whether it has any. Raises `JobDefinitionError`."""
        limits = _given(job)
        if not limits:
            return False

        parameters = inspect.signature(job.function).parameters
        for limit in limits:
            self._check(job.name, limit, list(parameters))
        self._limits[job.name] = limits
        self._defaults[job.name] = {
            name: each.default
            for name, each in parameters.items()
            if each.default is not inspect.Parameter.empty
        }
        return True

    def _check(self, job: str, limit: Limit, parameters: Sequence[str]) -> None:
        if limit.by is not None and limit.by not in parameters:
            raise JobDefinitionError(f"{job}: it has no argument {limit.by!r}, as {limit}", job=job)
        name = limit.name_in(job)
        check_name("name", name.removeprefix(SEQUENCE))
        n, other = self._numbers.setdefault(name, (limit.n, job))
        if n != limit.n:
            raise JobDefinitionError(
                f"{job}: the limit {name!r} is {n} in the job {other}, and {limit.n} here", job=job
            )

    @property
    def declared(self) -> Mapping[str, int]:
        """The numbers of the limits by name, as the code says them."""
        return {name: n for name, (n, _) in self._numbers.items()}

    def __contains__(self, job: str) -> bool:
        return job in self._limits

    def __bool__(self) -> bool:
        return bool(self._limits)

    def of(self, job: str, arguments: Mapping[str, object]) -> list[str]:
        """The keys of a job with these arguments."""
        return sorted({each.key_for(job, arguments) for each in self._limits[job]})

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
        return self.of(name, {**self._defaults[name], **passed})


def in_sequence_only(headers: Mapping[str, Any]) -> bool:
    """Whether a job with these headers has sequences and no other limit: it keeps its slot until it
    ends.
    """
    keys = keys_in(headers)
    return bool(keys) and all(each.startswith(SEQUENCE) for each in keys or ())


def _given(job: JobDefinition) -> list[Limit]:
    """The limits that a job is given, a sequence as one of them. Raises `JobDefinitionError`."""
    one, several, in_order = job.option(Limit), job.option(AllOf), job.option(InOrder)
    if one is not None and several is not None:
        raise JobDefinitionError(
            f"{job.name}: give all of its limits in one AllOf(...)", job=job.name
        )
    limits = [one] if one is not None else [*several.limits] if several is not None else []
    if any(each.name is not None and each.name.startswith(SEQUENCE) for each in limits):
        raise JobDefinitionError(
            f"{job.name}: no limit has a name that begins with {SEQUENCE!r}", job=job.name
        )

    if in_order is None:
        return limits
    if limits:
        raise JobDefinitionError(
            f"{job.name}: a job in a Sequence has no other limit", job=job.name
        )
    return [in_order.as_limit(job.name)]


def keys_in(headers: Mapping[str, Any]) -> list[str] | None:
    """The keys that a job's headers have, if any."""
    found = headers.get(HEADER)
    return found if isinstance(found, list) else None
