"""The plugin: holds limited jobs as they come in, and lets them go as slots are free."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg
import msgspec

from soniq import JobContext, JobDetail, JobStatus, Snooze, Soniq
from soniq.errors import AppNotStarted
from soniq.plugin import (
    EnqueueBatch,
    Holds,
    JobDefinition,
    Migration,
    Outcome,
    OwedEvent,
    Task,
    TransactionConnection,
    hookimpl,
)

from .database import NAME, migration, statement
from .keys import HEADER, Keys, in_sequence_only, keys_in, rates_in
from .looking import AT_ONCE, LOOK, SOON, Going, Looking
from .state import LimitState, limit_states, set_limit

if TYPE_CHECKING:
    import click

    from soniq_dashboard import Page, Panel

LEASE = 3.0
"""Seconds after which another worker looks in place of one that is silent."""
MARGIN = 0.02
"""How much of a rate's time may pass while a start is noted; the database counts it for twice as
much longer.
"""
NOTES = 3
"""How often a start is noted again where that took longer, before it counts until the job ends."""
ASKS = 100
"""How often it is looked for what is due where somebody else has it locked."""
UNTOLD = "nobody was told of an attempt before, and this one was not let go by its rate"
LATE = "it took longer to note that it starts than the note counts"
UNNOTED = "it is not known whether its rate counts its start"


class Owed(msgspec.Struct, kw_only=True):
    """What events ask to be looked at."""

    ids: dict[str, None]
    """Jobs, in order."""
    known: Mapping[str, Sequence[str]]
    """The keys of some of them."""
    keys: set[str]
    paused: Sequence[str]
    """Jobs in queues that were paused, to be held again."""
    due: int
    """How often it is to be looked for what is due."""

    @classmethod
    def of(cls, events: Sequence[OwedEvent]) -> "Owed":
        jobs = {each.job_id: keys_in(each.headers) for each in events if each.job_id is not None}
        notes = [each.what for each in events if each.kind == "note"]
        return cls(
            ids=dict.fromkeys([*jobs, *(each for note in notes for each in note.get("jobs", ()))]),
            known={job_id: its for job_id, its in jobs.items() if its},
            keys={each for note in notes for each in note.get("keys", ())},
            paused=[each for note in notes for each in note.get("paused", ())],
            due=max((note.get("due", 0 if note else ASKS) for note in notes), default=0),
        )


class Limits:
    """At most so many jobs at once: `limits = eq.plugin(Limits)`.

    The limits are options of jobs: `@eq.job(Limit(5, by="customer"))`. What is in force is in the
    database, and is read and changed here while the app is used. Its methods raise `AppNotStarted`
    before, `LimitNotFound` for a name that there is not, and `DatabaseError`.
    """

    name = NAME

    def __init__(self) -> None:
        self._keys = Keys()
        self._said: set[str] = set()
        """The limits that were written down since the app started."""
        self._app: Soniq | None = None
        self._looking: Looking | None = None

    async def list(self) -> Sequence[LimitState]:
        """All limits by name."""
        with suppress(asyncpg.ReadOnlySQLTransactionError):
            await self._declare()
        return await limit_states(self._started())

    async def set(self, name: str, n: int) -> None:
        """Let so many jobs of each key run at once, from now on, until the code says another number
        than it does. 0: none starts. Those that run go on. Raises `InvalidOption`.
        """
        await self._declare()
        await set_limit(self._started(), name, n)

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        """Read the limits of a job, hold it as it comes in, and hear how it ends."""
        if self._keys.read(job):
            job.mark(NAME, hold=True)
        if self._keys.rate_of(job.name) is None:
            job.exclude(NAME, "before_job")

    @hookimpl
    def around_enqueue(self, batch: EnqueueBatch) -> Iterator[None]:
        """Give limited jobs their keys along."""
        if self._keys:
            for job in batch.jobs:
                if job.name in self._keys:
                    job.headers[HEADER] = self._keys.of(job.name, job.args)
        yield

    @hookimpl(marked=True, sql_function="ended_1")
    async def settle_tx(
        self, tx: TransactionConnection, outcomes: Sequence[Outcome], holds: Holds
    ) -> None:
        """Give up the slots of what ended, or is put off and held again, and let the next go."""
        ended = [each.job_id for each in outcomes if each.status != "queued"]
        requeued = [
            each.job_id
            for each in outcomes
            if each.status == "queued" and not in_sequence_only(each.headers)
        ]
        held = await holds.hold(requeued) if requeued else []
        rated = [each for each in outcomes if self._is_rated(each)]
        (row,) = await tx.fetch(
            self._sql("settled"),
            ended,
            held,
            [each.job_id for each in rated],
            [each.claim for each in rated],
        )

        for ids, last in Going.of(row).parts():
            await holds.release(ids, last=last)
        if row["busy"] or row["unknown"]:
            await holds.owe({"keys": row["busy"], "jobs": [*map(str, row["unknown"])]})

    @hookimpl(trylast=True)
    async def before_job(self, ctx: JobContext) -> None:
        """Note when an attempt starts that a rate counts. Where that fails, it is counted until the
        job has ended; where it may be counted for too short a time, or not at all, it does not
        start.
        """
        per = self._keys.rate_of(ctx.job_name)
        assert per is not None
        sent = math.inf
        try:
            async with self._started().connection() as connection:
                sent = time.monotonic()
                keys = self._keys.rates_of(ctx)
                (noted,) = await connection.fetch(self._sql("started"), ctx.job_id, keys, ctx.claim)
            if not noted["goes"]:
                raise Snooze(0, UNTOLD)

            per, noting, again = noted["per"] or per, sent, NOTES
            while again and time.monotonic() - noting > per * MARGIN:
                noting, again = time.monotonic(), again - 1
                async with self._started().connection() as connection:
                    await connection.execute(self._sql("note"), noted["starts"], again > 0)
            if time.monotonic() - sent > per:
                raise Snooze(0, LATE)
        except Snooze:
            raise
        except BaseException as error:
            if time.monotonic() - sent > per * MARGIN or ctx.claim > ctx.attempt:
                raise Snooze(0, UNNOTED) from error
            raise

    @hookimpl(sql_function="came_1")
    async def owed_tx(
        self, tx: TransactionConnection, events: Sequence[OwedEvent], holds: Holds
    ) -> None:
        """Give slots to what came in, came back, or could not be looked at."""
        owed = Owed.of(events)
        if 0 < owed.due < ASKS:  # asked again: somebody may have had it locked
            await asyncio.sleep(SOON)
        if owed.paused:
            owed.ids.update(dict.fromkeys(await holds.hold(owed.paused)))
        if owed.due:
            (due,) = await tx.fetch(self._sql("due"), AT_ONCE)
            owed.ids.update(dict.fromkeys(map(str, due["ids"])))
            owed.keys.update(due["keys"])

        assert self._looking is not None
        await self._declare()
        arrived = await self._looking.arrived(tx, owed.known)
        await holds.release(arrived.free)
        for each in arrived.told:
            owed.ids.pop(each, None)
        owed.keys.update(arrived.busy)
        if owed.ids or owed.keys:
            going = await self._looking.look(tx, [*owed.ids], owed.keys, owed.known)
            for released, last in going.parts():
                await holds.release(released, last=last)
        if owed.due > 1 and (await tx.fetch(self._sql("more")))[0]["more"]:
            await holds.owe({"due": owed.due - 1})

    @hookimpl
    def migrations(self) -> Sequence[Migration]:
        names = ("0001_limits", "0002_ended", "0003_came")
        return [
            Migration(version=place, sql=migration(name))
            for place, name in enumerate(names, start=1)
        ]

    @hookimpl
    async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
        self._app, self._looking = app, Looking(app, self._keys)
        self._said.clear()
        try:
            yield
        finally:
            self._app = self._looking = None

    @hookimpl
    async def started(self, app: Soniq) -> None:
        """Write down what the code says of its limits; let a worker that ends when nothing is due
        look at what is due before. On a standby, as readers use one, nothing is written.
        """
        with suppress(asyncpg.ReadOnlySQLTransactionError):
            await self._declare()
            if self._keys.declared:
                async with app.connection() as connection:
                    await connection.execute(self._sql("ask"))

    @hookimpl
    def background_tasks(self, app: Soniq) -> Sequence[Task]:
        """One worker looks at what falls due; each at what was locked when it looked."""
        assert self._looking is not None
        return [
            Task(name="look", run=self._looking.elected, elected=True, lease=LEASE),
            Task(name="look again", run=self._looking.beside),
            Task(name="declare", run=self._declare_later),
        ]

    @hookimpl
    async def inspect_fields(self, app: Soniq, job: JobStatus) -> Mapping[str, object]:
        """The job's keys, and whether it has its slots or waits for them."""
        async with app.connection() as connection:
            rows = await connection.fetch(self._sql("of_job"), job["job_id"])
        return {
            row["key"]: f"{'has a slot' if row['has_slot'] else 'waits'},"
            f" {row['taken']} of {row['n']} taken{_in_time(row['per'])}"
            for row in rows
        }

    @hookimpl(optionalhook=True)
    def dashboard_pages(self) -> "Sequence[Page]":
        from .on_dashboard import page

        return [page()]

    @hookimpl(optionalhook=True)
    async def dashboard_job_panels(self, app: Soniq, job: JobDetail) -> "Sequence[Panel]":
        """The job's keys, while it is not finished: then it has none."""
        from .on_dashboard import of_job

        return () if job["finished_at"] is not None else await of_job(app, job)

    @hookimpl
    def register_commands(self, cli: "click.Group") -> None:
        from .commands import limits  # all that enqueues has no need of it

        cli.add_command(limits)

    async def _declare(self) -> None:
        """Write down what the code says of its limits, where that is new."""
        said = {
            name: limit for name, limit in self._keys.declared.items() if name not in self._said
        }
        if not said:
            return
        async with self._started().connection() as connection, connection.transaction():
            changed = await connection.fetch(
                self._sql("declare"),
                [*said],
                [each.kind for each in said.values()],
                [each.number for each in said.values()],
                [each.seconds for each in said.values()],
            )
            if changed:
                names = [row["name"] for row in changed]
                await connection.execute(self._sql("again_for"), names)
        self._said.update(said)

    async def _declare_later(self) -> None:
        """Write down the limits of jobs that are defined while the worker runs."""
        while True:
            await self._declare()
            await asyncio.sleep(LOOK)

    def _is_rated(self, outcome: Outcome) -> bool:
        return self._keys.rate_of(outcome.job_name) is not None or bool(rates_in(outcome.headers))

    def _started(self) -> Soniq:
        if self._app is None:
            raise AppNotStarted("the app of these limits is not in use")
        return self._app

    def _sql(self, name: str) -> str:
        return statement(self._started().plugin_schema(NAME), name)


def _in_time(per: float | None) -> str:
    return "" if per is None else f" in {per:g} s"
