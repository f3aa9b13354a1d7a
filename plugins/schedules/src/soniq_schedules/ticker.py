"""What makes the jobs: in one worker for each version of the code, a look at what is due, each
second at least.
"""

import asyncio
import hashlib
import logging
import random
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from soniq import JobId, Soniq, SoniqError
from soniq.errors import DatabaseError

from .database import ALIVE, NAME, statement
from .plan import plan
from .spec import Spec, spec_of, when_of
from .tick import headers_of
from .when import When
from .writing import write

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

log = logging.getLogger("soniq.schedules")

LEASE = 6.0
"""Seconds after which another worker ticks in place of one that is silent."""
BEAT = 10.0
"""Seconds between two signs that workers of this version of the code live."""
LOOK = 1.0
"""The longest time between two looks at what is due, in seconds."""
AT_ONCE = 100
"""How many schedules tick in one transaction."""
LIMIT = 10.0
"""Seconds that the enqueue of one job may take."""
UNFINISHED = ("queued", "held", "running")


class InCode(msgspec.Struct, frozen=True):
    """A schedule as the code defines it."""

    job: str
    when: When


class Move(msgspec.Struct, frozen=True):
    """How a schedule moves on."""

    name: str
    next_at: datetime | None
    last_at: datetime | None = None
    last_job: str | None = None
    skipped_at: datetime | None = None
    replaced: str | None = None
    """The job of the tick before, which is cancelled once this is written."""


class Ticker:
    """Makes the jobs of the schedules that this app knows: those in its code, and those added at
    run time for a job of its.
    """

    def __init__(
        self, app: Soniq, code: Mapping[str, InCode], serializers: Mapping[str, str]
    ) -> None:
        self._app = app
        self._code = code
        self._serializers = serializers
        self._schema = app.plugin_schema(NAME)
        self._jobs = sorted(app.registry)
        self._specs: dict[str, Spec] = {}
        self._refused: set[str] = set()

    @property
    def version(self) -> str:
        """What workers of the same code have in common."""
        about = [self._jobs, self._code]
        text = msgspec.json.encode(about, enc_hook=repr, order="deterministic")
        return hashlib.sha256(text).hexdigest()

    async def run(self) -> None:
        """Tick until it is cancelled."""
        clock = asyncio.get_running_loop().time
        beat = clock()
        while True:
            if clock() >= beat:
                await self.register()
                beat = clock() + BEAT
            await self.tick()
            pause = await self._pause()
            await asyncio.sleep(pause)

    # --- what is in the code ---------------------------------------------------------------------

    async def register(self) -> None:
        """Say that this version of the code lives, and write what it defines where that has
        changed, unless a later version lives.
        """
        async with self._app.connection() as connection:
            await connection.execute(
                self._sql("beat"), self.version, self._jobs, sorted(self._code)
            )
            rows = await connection.fetch(
                self._sql("written"), list(self._code), self.version, ALIVE
            )
            await self._set_back(connection)

        there = {row["name"]: row for row in rows}
        for name, spec in (await self._of_code()).items():
            row = there.get(name)
            if row is not None and (row["newer"] or row["digest"] == spec.digest):
                continue
            try:
                await self._write(name, spec)
            except DatabaseError:
                raise
            except SoniqError as error:
                self._refuse(name, error)

    async def _of_code(self) -> Mapping[str, Spec]:
        """The schedules of the code, by name; their arguments are written once. Those that their
        job refuses are left out, and tried again.
        """
        for name, each in self._code.items():
            if name in self._specs:
                continue
            try:
                self._specs[name] = await spec_of(
                    self._app, each.job, each.when, each.when.args or {}, self._serializers
                )
            except SoniqError as error:
                self._refuse(name, error)
        return self._specs

    async def _known(self) -> tuple[object, ...]:
        """What this version of the code can tick, as the statements take it."""
        digests = [spec.digest for spec in (await self._of_code()).values()]
        return list(self._code), self._jobs, digests, ALIVE

    async def _set_back(self, connection: "Connection") -> None:
        """Have schedules go on that a clock which was ahead has moved on too far.

        Up to an hour too far are those whose next tick but one would be missed, too: one that is
        to run each day has run at the time that comes again.
        """
        for row in await connection.fetch(self._sql("ahead")):
            try:
                when = when_of(row["spec"])
            except msgspec.ValidationError:  # its tick will say so
                continue
            anchor = min(row["anchor"], row["now"])
            following = when.next_after(row["now"], anchor)
            if not row["far"]:
                second = following and when.next_after(following, anchor)
                if second is None or row["next_at"] is None or row["next_at"] <= second:
                    continue
            log.warning("schedule %s: the clock was set back; it goes on from now", row["name"])
            await connection.execute(self._sql("set_back"), row["name"], row["moved_at"], following)

    async def _write(self, name: str, spec: Spec) -> None:
        async with self._app.connection() as connection, connection.transaction():
            await write(connection, self._schema, name, spec, self.version)
        log.info("schedule %s: %s", name, spec.when.describe())

    def _refuse(self, name: str, error: SoniqError) -> None:
        if name not in self._refused:
            log.error("schedule %s is not written as the code has it: %s", name, error)
            self._refused.add(name)

    # --- ticking ---------------------------------------------------------------------------------

    async def tick(self) -> int:
        """Make the jobs of all that is due; how many schedules that were."""
        count = 0
        while True:
            try:
                done = await self._tick(AT_ONCE)
            except Exception as error:
                log.debug("ticks are tried one by one: %r", error)
                done = await self._tick_one_by_one()
            count += done
            if done < AT_ONCE:
                return count

    async def _tick_one_by_one(self) -> int:
        """The same, each in a transaction of its own: what is wrong with one is kept in its row."""
        names = await self._fetch("due_names", *await self._known(), AT_ONCE)
        for row in names:
            try:
                await self._tick(1, row["name"])
            except Exception as error:
                await self._fail(row["name"], error)
        return len(names)

    async def _tick(self, most: int, name: str | None = None) -> int:
        """Tick schedules that are due, in one transaction; how many that were."""
        known = await self._known()
        async with self._app.connection() as connection, connection.transaction():
            rows = await connection.fetch(self._sql("due"), *known, most, name)
            moves = [await self._ticked(connection, row) for row in rows]
            if moves:
                await connection.execute(
                    self._sql("ticked"),
                    [move.name for move in moves],
                    [move.next_at for move in moves],
                    [move.last_at for move in moves],
                    [move.last_job for move in moves],
                    [move.skipped_at for move in moves],
                )
        # Not before the new jobs are there: what cannot be made takes nothing away
        for move in moves:
            if move.replaced is not None:
                await self._replace(move.replaced, move.name)
        return len(rows)

    async def _ticked(self, connection: "Connection", row: "asyncpg.Record") -> Move:
        """Make the jobs of one schedule; how it moves on."""
        name, when = row["name"], when_of(row["spec"])
        planned = plan(when, row["next_at"], row["now"], row["anchor"])
        if planned.left_out:
            log.warning(
                "schedule %s: ticks since %s were missed, and are left out (catch_up=%r)",
                name, row["next_at"].isoformat(), when.catch_up,
            )  # fmt: skip
        if not planned.ticks:
            return Move(name, planned.following)
        last = str(row["last_job"]) if row["last_job"] else None
        status = None if last is None else await unfinished_status(self._app, last)
        if status is not None and when.overlap == "skip":
            log.info("schedule %s: the job %s of the tick before goes on: skipped", name, last)
            return Move(name, planned.following, skipped_at=planned.ticks[-1])
        replaced = last if status is not None and when.overlap == "replace" else None
        arguments = await self._arguments(row)

        job_id = None
        for at, following in zip(
            planned.ticks, [*planned.ticks[1:], planned.following], strict=True
        ):
            spread = when.jitter * (following - at).total_seconds() if following else 0.0
            enqueue = partial(
                self._enqueue, connection, row["job"], arguments, headers_of(name, when, at), spread
            )
            job_id = await enqueue()
            # The one before may have the key of this one: only one that waits gives it up at once
            if replaced is not None and job_id == replaced and status != "running":
                await self._replace(replaced, name)
                job_id = await enqueue()
        assert job_id is not None
        return _moved(name, planned.following, planned.ticks[-1], job_id, replaced)

    async def _enqueue(
        self,
        connection: "Connection",
        job: str,
        arguments: Mapping[str, object],
        headers: Mapping[str, object],
        spread: float,
    ) -> JobId:
        """Make the job of one tick, due within so many seconds."""
        async with asyncio.timeout(LIMIT):
            return await self._app.enqueue(
                job,
                args=arguments,
                headers=headers,
                delay=random.uniform(0, spread) or None,
                connection=connection,
            )

    async def _replace(self, job_id: str, name: str) -> None:
        """Cancel the job of the tick before. Where that fails both run, and it is said."""
        try:
            async with asyncio.timeout(LIMIT):
                await self._app.cancel(job_id, f"replaced by the next tick of {name}")
        except (SoniqError, TimeoutError) as error:
            log.warning("schedule %s: the job %s goes on: %r", name, job_id, error)

    async def _arguments(self, row: "asyncpg.Record") -> Mapping[str, object]:
        """The arguments of a schedule; those in the code are taken from there, so that they need
        not be readable: a key that encrypted them may be gone.
        """
        own = (await self._of_code()).get(row["name"])
        if own is not None and own.digest == row["digest"]:
            return self._code[row["name"]].when.args or {}
        return await self._app.load_arguments(row["job"], row["args"], serializer=row["serializer"])

    async def _fail(self, name: str, error: Exception) -> None:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
        log.error("schedule %s: its tick failed: %s", name, text, exc_info=error)
        await self._fetch("failed", name, text[:2_000])

    async def _pause(self) -> float:
        """Seconds until the next look."""
        ((seconds,),) = await self._fetch("pause_until", *await self._known())
        return LOOK if seconds is None else min(LOOK, max(0.01, float(seconds)))

    async def _fetch(self, name: str, *values: Any) -> "list[asyncpg.Record]":
        async with self._app.connection() as connection:
            return await connection.fetch(self._sql(name), *values)

    def _sql(self, name: str) -> str:
        return statement(self._schema, name)


async def unfinished_status(app: Soniq, job_id: object) -> str | None:
    """The status of the job of a tick, where it is there and not finished; None is no job."""
    if job_id is None:
        return None
    status = await app.get_job_status(str(job_id), result=False)
    return status["status"] if status is not None and status["status"] in UNFINISHED else None


def _moved(
    name: str, following: datetime | None, at: datetime, job_id: JobId, replaced: str | None
) -> Move:
    """How a schedule moves on after a tick; the job's own `unique=` may have had it make none."""
    if job_id.inserted:
        return Move(name, following, last_at=at, last_job=str(job_id), replaced=replaced)
    return Move(name, following, skipped_at=at)
