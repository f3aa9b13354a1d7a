"""Schedules that are added, changed and removed while the app is in use, kept in the database."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from soniq import InvalidOption, Job, JobId, Soniq
from soniq.errors import AppNotStarted
from soniq.plugin import JobDefinition

from .database import ALIVE, NAME, statement
from .errors import ScheduleInCode, ScheduleNotFound, ScheduleUnreadable
from .schedule import Schedule, schedule_of
from .spec import spec_of, when_of
from .tick import headers_of
from .ticker import unfinished_status
from .when import When
from .writing import write

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

LONGEST_NAME = 200


class AtRunTime:
    """What callers do with the schedules of an app; `Schedules` is the plugin that it is of."""

    def __init__(self) -> None:
        self._app: Soniq | None = None
        self._definitions: dict[str, JobDefinition] = {}

    async def add(
        self,
        name: str,
        job: Job[..., Any] | str,
        when: When,
        *,
        args: Mapping[str, object] | None = None,
    ) -> None:
        """Have a job run at fixed times; one of this name is changed.

        Changed or not, it keeps whether it is paused, and a tick that is due already. Raises what
        `enqueue` raises for the job and its arguments, `InvalidOption`, or `ScheduleInCode` where
        the one of this name is defined in code.
        """
        app = self._started()
        check_name(name)
        if not isinstance(when, When):
            raise InvalidOption(f"add takes a Cron or an Every; got {when!r:.100}", option="when")
        if args is not None and when.args is not None:
            raise InvalidOption("give the arguments in args= once", option="args")
        given = args if args is not None else when.args or {}
        spec = await spec_of(app, job, when, given, self._serializers())
        async with app.connection() as connection, connection.transaction():
            await write(connection, app.plugin_schema(NAME), name, spec, None)

    async def pause(self, name: str) -> None:
        """Have no jobs made until `resume`."""
        async with self._locked(name) as (connection, row):
            await connection.execute(self._sql("set_paused"), name, row["next_at"], True)

    async def resume(self, name: str) -> None:
        """Have jobs made again, from the next tick on; those in the meantime are not caught up."""
        async with self._locked(name) as (connection, row):
            if row["paused_at"] is not None:
                following = _when(name, row).next_after(row["now"], row["anchor"])
                await connection.execute(self._sql("set_paused"), name, following, False)

    async def remove(self, name: str) -> None:
        """Forget a schedule; jobs that it made stay. Raises `ScheduleInCode` for one that live
        workers have in their code: they would add it again.
        """
        found = await self.get(name)
        if found.source == "code" and found.known:
            raise ScheduleInCode(name, "remove it there, or pause it")
        async with self._locked(name) as (connection, _):
            await connection.execute(self._sql("remove"), name)

    async def run_now(self, name: str) -> JobId:
        """Make a job of a schedule now, whether it is paused or not, beside its ticks; its id."""
        app = self._started()
        async with self._locked(name) as (connection, row):
            headers = headers_of(name, _when(name, row), row["now"])
            job_id = await app.enqueue(
                row["job"],
                args=await app.load_arguments(
                    row["job"], row["args"], serializer=row["serializer"]
                ),
                headers=headers,
                connection=connection,
            )
            if job_id.inserted and await unfinished_status(app, row["last_job"]) is None:
                await connection.execute(self._sql("ran"), name, job_id.uuid)
        return job_id

    async def get(self, name: str) -> Schedule:
        """The schedule of this name."""
        rows = await self._rows(None, None, 1, name)
        if not rows:
            raise ScheduleNotFound(name)
        return schedule_of(rows[0])

    async def list(
        self,
        *,
        job: Job[..., Any] | str | None = None,
        after: str | None = None,
        limit: int = 1_000,
    ) -> Sequence[Schedule]:
        """The schedules by name, all or those of a job; `after` a name, for the next page."""
        job_name = job.name if isinstance(job, Job) else job
        return [schedule_of(row) for row in await self._rows(job_name, after, limit, None)]

    # --- inside ----------------------------------------------------------------------------------

    def _serializers(self) -> dict[str, str]:
        """The names of the jobs' serializers, of those that have one; plugins may have chosen it
        after this one was asked about the job.
        """
        return {name: job.serializer for name, job in self._definitions.items() if job.serializer}

    def _started(self) -> Soniq:
        if self._app is None:
            raise AppNotStarted(
                "schedules can be changed while the app is in use: after `await app.start()`, or"
                " inside `async with app`"
            )
        return self._app

    @asynccontextmanager
    async def _locked(self, name: str) -> "AsyncIterator[tuple[Connection, asyncpg.Record]]":
        """A transaction with a schedule that nobody else changes meanwhile."""
        async with self._started().connection() as connection, connection.transaction():
            row = await connection.fetchrow(self._sql("lock"), name)
            if row is None:
                raise ScheduleNotFound(name)
            yield connection, row

    async def _rows(self, *values: object) -> "Sequence[asyncpg.Record]":
        async with self._started().connection() as connection:
            return await connection.fetch(self._sql("list"), *values, ALIVE)

    def _sql(self, name: str) -> str:
        return statement(self._started().plugin_schema(NAME), name)


def _when(name: str, row: "asyncpg.Record") -> When:
    """When a schedule is, of its row."""
    try:
        return when_of(row["spec"])
    except msgspec.ValidationError as error:
        raise ScheduleUnreadable(name, str(error)) from error


def check_name(name: object) -> None:
    """Raise `InvalidOption` for a name that cannot be shown, or is too long."""
    if isinstance(name, str) and name.isprintable() and 1 <= len(name) <= LONGEST_NAME:
        return
    raise InvalidOption(
        f"a schedule's name is 1 to {LONGEST_NAME} printable characters; got {name!r:.300}",
        option="name",
    )
