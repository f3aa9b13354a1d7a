"""Workflows as a plugin, to read and to test with: jobs that run when others are done, on the public
contract alone.

A step is a job with the option `Step`. It comes in held, its parents in its headers:

    workflow = eq.plugin(Workflow)
    parts = [await workflow.enqueue(resize, n=n) for n in range(3)]
    await workflow.enqueue(publish, after=parts)

A step waits for what is not done. Where a parent is dead or cancelled, or is not known (any more),
the step stays held, `inspect_fields` says by which parent, and it goes on once an operator has
retried the parent; or a person cancels or releases the step.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Any

from soniq import Job, JobId, JobStatus, Soniq, hookimpl
from soniq.plugin import (
    Holds,
    JobDefinition,
    Migration,
    Outcome,
    OwedEvent,
    TransactionConnection,
)

NAME = "workflow"
AFTER = "after"
"""The header with the ids of a step's parents, for those who enqueue from SQL, too."""

TABLES = """
create table {schema}.step (job_id uuid primary key); -- the steps that wait: who has the row counts
create table {schema}.waits (job_id uuid, parent uuid, primary key (job_id, parent)); -- for a parent each
create index on {schema}.waits (parent);
"""


class Step:
    """The option of a job that may wait for others, and that others may wait for."""


class Workflow:
    """Lets steps go when all their parents are done.

    Two things are never done in one transaction: to write down, and to look whether that was the
    last. A step's parents are committed before it is looked whether they are done, and a parent's
    end is before it is looked who waits for it; so whichever comes second sees the other. Of several
    who look at one step each has its row, and counts after that.
    """

    name = NAME

    @hookimpl
    def migrations(self) -> Sequence[Migration]:
        return [Migration(version=1, sql=TABLES)]

    @hookimpl
    async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
        self.app, schema = app, app.plugin_schema(NAME)
        self.step, self.waits = f"{schema}.step", f"{schema}.waits"
        self.jobs = f'"{app.settings.schema}".jobs'  # the view, whose columns stay
        yield

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        if job.option(Step) is not None:
            job.mark(NAME, hold=True, first=True)  # before who gives out what is scarce

    async def enqueue(
        self, job: Job[..., Any] | str, *, after: Iterable[str] = (), **keywords: Any
    ) -> JobId:
        """Enqueue a step that runs when all of `after` are done, which are steps themselves."""
        return await self.app.enqueue(job, headers={AFTER: [*after]}, **keywords)

    @hookimpl(marked=True)
    async def settle_tx(
        self, tx: TransactionConnection, outcomes: Sequence[Outcome], holds: Holds
    ) -> None:
        """Only note it: this may be a user's transaction, and nobody waits here."""
        if ended := ends_in(outcomes):
            await holds.owe({"ended": ended})

    @hookimpl
    async def owed_tx(
        self, tx: TransactionConnection, events: Sequence[OwedEvent], holds: Holds
    ) -> None:
        came = {
            each.job_id: each.headers.get(AFTER, ())
            for each in events
            if each.job_id is not None and NAME in each.held_by
        }
        if came:
            await self.write_down(tx, came)
            await holds.owe({"look": [*came]})

        ended = ends_in([each.outcome for each in events if each.outcome is not None])
        for each in events:
            ended |= each.what.get("ended", {})
        looked_at = {job_id for each in events for job_id in each.what.get("look", ())}
        if ended or looked_at:
            await holds.release(await self.free(tx, looked_at, ended))

    async def write_down(
        self, tx: TransactionConnection, came: Mapping[str, Collection[str]]
    ) -> None:
        """Write down for whom steps wait, with their rows locked."""
        add = f"insert into {self.step} select unnest($1::uuid[]) on conflict (job_id)"
        await tx.execute(f"{add} do update set job_id = excluded.job_id", sorted(came))
        pairs = [(step, parent) for step, parents in came.items() for parent in parents]
        await tx.execute(
            f"insert into {self.waits} select * from unnest($1::uuid[], $2::uuid[])"
            " on conflict do nothing",
            [step for step, _ in pairs],
            [parent for _, parent in pairs],
        )

    async def free(
        self, tx: TransactionConnection, looked_at: Collection[str], ended: Mapping[str, str]
    ) -> list[str]:
        """The steps that wait for nothing any more, of those to be looked at, and those that wait
        for what has ended.
        """
        done = {job_id for job_id, status in ended.items() if status == "done"}
        mine = await self.locked(tx, {*looked_at, *ended}, done)
        gone: set[str] = set()
        if asked := mine & {*looked_at, *ended}:
            # Read with their rows locked: one that had ended may have been retried, and wait again
            sql = f"select distinct parent::text from {self.waits} where job_id = any($1::uuid[])"
            parents = [row["parent"] for row in await tx.fetch(sql, [*asked])]
            sql = f"select id::text, status from {self.jobs} where id = any($1::uuid[])"
            rows = await tx.fetch(sql, [*asked, *parents])
            status = {row["id"]: row["status"] for row in rows}
            done |= {parent for parent in parents if status.get(parent) == "done"}
            gone = {step for step in asked if status.get(step) != "held"}

        rows = await tx.fetch(
            f"with over as (delete from {self.waits} where job_id = any($1::uuid[])"
            " and (parent = any($2::uuid[]) or job_id = any($3::uuid[])))"
            f" delete from {self.step} as step where job_id = any($1::uuid[]) and not exists ("
            f"select from {self.waits} as other where other.job_id = step.job_id"
            " and other.parent <> all ($2::uuid[]) and other.job_id <> all ($3::uuid[]))"
            " returning job_id::text",
            [*mine],
            [*done],
            [*gone],
        )
        return [row["job_id"] for row in rows if row["job_id"] not in gone]

    async def locked(
        self, tx: TransactionConnection, steps: Collection[str], parents: Collection[str]
    ) -> set[str]:
        """Those of these steps, and of those that wait for these parents, whose rows there are;
        this transaction has them now. All take them in one order.
        """
        rows = await tx.fetch(
            f"select job_id::text from {self.step} as step where job_id = any($1::uuid[]) or job_id"
            f" in (select job_id from {self.waits} where parent = any($2::uuid[]))"
            " order by step.job_id for update",
            [*steps],
            [*parents],
        )
        return {row["job_id"] for row in rows}

    @hookimpl
    async def inspect_fields(self, app: Soniq, job: JobStatus) -> Mapping[str, object]:
        """The parents that a step waits for, and how each stands."""
        async with app.connection() as connection:
            rows = await connection.fetch(
                f"select parent::text, coalesce(status, 'unknown') as status from {self.waits}"
                f" left join {self.jobs} as jobs on jobs.id = parent where job_id = $1::text::uuid"
                " order by parent",
                job["job_id"],
            )
        return {row["parent"]: row["status"] for row in rows}


def ends_in(outcomes: Iterable[Outcome]) -> dict[str, str]:
    """How jobs ended, by id."""
    return {each.job_id: each.status for each in outcomes if each.status != "queued"}
