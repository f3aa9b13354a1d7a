"""Typed implementations of hooks as they may be written: neither checker reports anything, and
Soniq loads them all.
"""

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from typing import Any, NoReturn, assert_type

import asyncpg
import click

from soniq import Cancel, JobContext, Jobs, JobStatus, Retry, Soniq, hookimpl
from soniq.plugin import (
    NO_DEDUP,
    Action,
    Dedup,
    EnqueueBatch,
    ForgottenJob,
    Holds,
    IncomingJob,
    JobDefinition,
    Migration,
    NewJob,
    Outcome,
    OwedEvent,
    Presentable,
    ResultStore,
    Serializer,
    Task,
    TransactionConnection,
    WorkerStatus,
)

# --- functions of a module, whatever their names -------------------------------------------------


@hookimpl.database_url
def url_of(app: Soniq) -> str | None:
    return None


@hookimpl.lifespan
async def life(app: Soniq) -> AsyncIterator[None]:
    yield


@hookimpl.withdraw_hooks
def needs_less(app: Soniq) -> list[str]:
    return ["settled"] if app.settings.pgbouncer else []


@hookimpl.started
async def at_the_start(app: Soniq) -> None: ...


@hookimpl.jobs
def no_jobs() -> Jobs:
    return Jobs()


@hookimpl.hookspecs
def no_hooks() -> tuple[()]:
    return ()


@hookimpl.serializers
def no_serializers() -> list[Serializer]:
    return []


@hookimpl.result_stores
def no_stores() -> tuple[ResultStore, ...]:
    return ()


@hookimpl.provide
def nothing(
    annotation: object, job: JobDefinition
) -> Callable[[JobContext], AbstractAsyncContextManager[str]] | None:
    return None


@hookimpl.configure_job
def leave_alone(job: JobDefinition) -> None: ...


@hookimpl.background_tasks
def no_tasks(app: Soniq) -> Sequence[Task]:
    return ()


@hookimpl.housekeeping
def no_housekeeping(app: Soniq) -> Sequence[Callable[[], AbstractContextManager[None]]]:
    return ()


@hookimpl.migrations
def no_migrations() -> Sequence[Migration]:
    return []


@hookimpl.register_commands
def no_commands(cli: click.Group) -> None: ...


@hookimpl.status_fields
async def how_it_stands(app: Soniq) -> dict[str, int]:
    return {"open": 1}


@hookimpl.inspect_fields
def what_it_knows(app: Soniq, job: JobStatus) -> dict[str, str] | None:
    return {"name": job["job_name"]}


@hookimpl.present
async def without_links(job_name: str, what: Presentable, value: object) -> object:
    return None


class ShowsAll:
    @hookimpl.present
    def show(self, what: Presentable, value: object) -> object:
        return value


@hookimpl.adapt_connection
async def none_of_ours(obj: object) -> TransactionConnection | None:
    return None


@hookimpl.around_enqueue
def pass_on(batch: EnqueueBatch) -> Iterator[None]:
    yield


@hookimpl.dedup_key
async def never(job: NewJob) -> Dedup:
    return NO_DEDUP


@hookimpl.claimed
def see(batch: Sequence[JobContext]) -> None: ...


@hookimpl.around_job
async def surround(ctx: JobContext) -> AsyncIterator[None]:
    yield


@hookimpl.before_job
def before(ctx: JobContext) -> None: ...


@hookimpl.after_job
async def after(ctx: JobContext, result: object) -> None: ...


@hookimpl.on_error
def failed(ctx: JobContext, error: BaseException) -> None: ...


@hookimpl.retry_delay
def later(ctx: JobContext, error: BaseException) -> float | Retry | Cancel | None:
    return None


@hookimpl.settle_tx
async def write(tx: TransactionConnection, outcomes: Sequence[Outcome], holds: Holds) -> None: ...


@hookimpl.enqueue_tx
async def append(tx: TransactionConnection, jobs: Sequence[IncomingJob]) -> None: ...


@hookimpl.owed_tx
async def told_later(
    tx: TransactionConnection, events: Sequence[OwedEvent], holds: Holds
) -> None: ...


@hookimpl.forgotten_tx
async def forget(tx: TransactionConnection, jobs: Sequence[ForgottenJob]) -> None: ...


@hookimpl.acted
def audit(action: Action) -> None: ...


@hookimpl.workers_lost
def page_somebody(workers: Sequence[WorkerStatus]) -> None: ...


@hookimpl.settled
async def count(outcomes: Sequence[Outcome]) -> None: ...


# --- the decorated function keeps its own type ---------------------------------------------------


@hookimpl.around_job(tryfirst=True)
@contextmanager
def managed(ctx: JobContext) -> Generator[str]:
    yield "entered"


class Kept:
    """The marked methods are called as what they are."""

    @hookimpl.retry_delay
    async def delay(self, ctx: JobContext) -> Retry:
        return Retry(len(ctx.job_name))

    @hookimpl(tryfirst=True)
    def dedup_key(self) -> str:
        return "one"

    @hookimpl.migrations(trylast=True)
    def steps(self) -> list[Migration]:
        return []


async def uses(kept: Kept, ctx: JobContext) -> None:
    with managed(ctx) as entered:
        assert_type(entered, str)
    assert_type(await kept.delay(ctx), Retry)
    assert_type(kept.dedup_key(), str)
    assert_type(kept.steps(), list[Migration])


# --- fewer arguments, in any order, of wider types -----------------------------------------------


class Fewer:
    @hookimpl.database_url
    async def url(self) -> None: ...

    @hookimpl.background_tasks
    def tasks(self) -> list[Task]:
        return []

    @hookimpl.around_enqueue
    async def enqueue(self) -> AsyncIterator[None]:
        yield

    @hookimpl.dedup_key
    def key(self) -> None: ...

    @hookimpl.after_job
    def after_none(self) -> None: ...

    @hookimpl.after_job
    def after_result(self, result: object) -> None: ...

    @hookimpl.after_job
    async def after_ctx(self, ctx: JobContext) -> None: ...

    @hookimpl.after_job
    def after_turned(self, result: object, ctx: object) -> None: ...

    @hookimpl.on_error
    def error_only(self, error: object) -> None: ...

    @hookimpl.retry_delay
    def error_delay(self, error: BaseException) -> int:
        return 1

    @hookimpl.settle_tx(marked=True)
    async def with_holds(self, holds: Holds, outcomes: Sequence[Outcome]) -> None:
        await holds.release(await holds.hold([each.job_id for each in outcomes], first=True))

    @hookimpl.owed_tx
    def events_only(self, events: Sequence[object]) -> None: ...

    @hookimpl.owed_tx(trylast=True)
    async def events_with_holds(self, events: Sequence[OwedEvent], holds: Holds) -> None:
        for each in events:
            await holds.owe({"seen": each.job_id})

    @hookimpl.settle_tx
    async def tx_only(self, tx: TransactionConnection) -> None: ...

    @hookimpl.settle_tx
    def outcomes_only(self, outcomes: Sequence[object]) -> None: ...

    @staticmethod
    @hookimpl.settle_tx
    def turned(outcomes: Sequence[Outcome], tx: object) -> None: ...

    @staticmethod
    @hookimpl.before_job
    def without_anything() -> None: ...


# --- methods and static methods ------------------------------------------------------------------


class Methods:
    @hookimpl.database_url(tryfirst=True)
    async def url(self, app: object) -> str | None:
        return None

    @hookimpl.serializers
    def formats(self) -> Sequence[Serializer]:
        return ()

    @hookimpl.provide(trylast=True)
    def value(self, annotation: object) -> Callable[[JobContext], nullcontext[int]] | None:
        return None

    @hookimpl.configure_job
    def job(self, job: JobDefinition) -> None: ...

    @hookimpl.register_commands
    def commands(self, cli: click.Group) -> None: ...

    @hookimpl.adapt_connection
    def asyncpgs_own(self, obj: object) -> "asyncpg.Connection[asyncpg.Record] | None":
        return None

    @hookimpl.dedup_key
    def key(self, job: NewJob) -> str | Dedup | None:
        return None

    @hookimpl.claimed
    async def see(self, batch: Sequence[JobContext]) -> None: ...

    @staticmethod
    @hookimpl.before_job
    async def before(ctx: JobContext) -> None: ...

    @hookimpl.before_job
    def refuse(self, ctx: JobContext) -> NoReturn:
        raise Cancel("not today")

    @hookimpl.settled(tryfirst=False, trylast=True)
    def count(self, outcomes: Sequence[Outcome]) -> None: ...


# --- context managers: generator functions, and functions that return one ------------------------


class Managers:
    @hookimpl.lifespan
    def life(self, app: Soniq) -> Generator[None]:
        yield

    @hookimpl.around_job
    def plain(self, ctx: JobContext) -> Iterator[None]:
        yield

    @hookimpl.around_job
    @asynccontextmanager
    async def wrapped(self, ctx: JobContext) -> AsyncGenerator[int]:
        yield 1

    @hookimpl.around_job
    def returned(self, ctx: JobContext) -> suppress | None:
        return suppress(KeyError) if ctx.attempt > 1 else None

    @hookimpl.around_enqueue
    async def awaited(self, batch: EnqueueBatch) -> AbstractAsyncContextManager[None]:
        return nullcontext()


# --- by name, without types ----------------------------------------------------------------------


class ByName:
    @hookimpl
    def before_job(self, ctx: JobContext) -> None: ...

    @hookimpl(trylast=True)
    def after_job(self, ctx: Any, result: str) -> None: ...

    @hookimpl(specname="on_error")
    def noted(self, error: BaseException) -> None: ...


# --- an app's own decorators: by position, under any names ---------------------------------------


def decorate(app: Soniq) -> None:
    @app.before_job
    def first(anything: JobContext) -> None: ...

    @app.before_job
    async def nothing_at_all() -> None: ...

    @app.after_job
    async def second(context: JobContext, value: object) -> None: ...

    @app.after_job
    def shorter(context: JobContext) -> None: ...

    @app.on_error
    def third(context: object, problem: BaseException, again: bool = False) -> None: ...

    @app.around_job
    def fourth(context: JobContext) -> Iterator[None]:
        yield

    @app.around_job
    @contextmanager
    def fifth(context: JobContext) -> Generator[None]:
        yield

    app.before_job(lambda: None)
    app.after_job(functools.partial(print, "done:"))
