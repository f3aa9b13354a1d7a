"""Mistakes, each with what mypy and pyright must say of its line: `test_expected.py` compares. Nothing imports this."""

# What follows from such a mistake is not listed again:
# mypy: disable-error-code="untyped-decorator"
# pyright: reportUntypedFunctionDecorator=false, reportUnknownMemberType=false

from collections.abc import Callable, Iterator, Sequence

import asyncpg
import click

from soniq import JobContext, Soniq, hookimpl
from soniq.plugin import EnqueueBatch, JobDefinition, NewJob, Outcome, Serializer, Task

# --- a hook that does not exist -------------------------------------------------------------------------------------


@hookimpl.arround_job  # mypy: attr-defined; pyright: reportAttributeAccessIssue
def misspelt(ctx: JobContext) -> Iterator[None]:
    yield


@hookimpl.before_jobs(tryfirst=True)  # mypy: attr-defined; pyright: reportAttributeAccessIssue
def plural(ctx: JobContext) -> None: ...


# --- an argument of a wrong name ------------------------------------------------------------------------------------


@hookimpl.before_job  # mypy: call-overload; pyright: reportArgumentType
def context_named(context: JobContext) -> None: ...


@hookimpl.after_job  # mypy: call-overload; pyright: reportArgumentType
def value_named(ctx: JobContext, value: object) -> None: ...


@hookimpl.database_url  # mypy: call-overload; pyright: reportArgumentType
def url(soniq: Soniq) -> str:
    return ""


@hookimpl.serializers  # mypy: call-overload; pyright: reportArgumentType
def too_many(app: Soniq) -> list[Serializer]:
    return []


@hookimpl.retry_delay(tryfirst=True)  # mypy: type-var; pyright: reportArgumentType
def delay(ctx: JobContext, exception: BaseException) -> float:
    return 1.0


@hookimpl.before_job  # mypy: call-overload; pyright: reportArgumentType
def of_another_hook(ctx: JobContext, result: object) -> None: ...


@hookimpl.settle_tx  # mypy: call-overload; pyright: reportArgumentType
def connection_named(connection: object, outcomes: Sequence[Outcome]) -> None: ...


class Methods:
    @hookimpl.on_error  # mypy: call-overload; pyright: reportArgumentType
    def failed(self, context: JobContext, error: BaseException) -> None: ...

    @hookimpl.dedup_key(trylast=True)  # mypy: type-var; pyright: reportArgumentType
    def key(self, new_job: NewJob) -> None: ...

    @hookimpl.register_commands  # mypy: call-overload; pyright: reportArgumentType
    def commands(self, group: click.Group) -> None: ...

    @staticmethod  # only mypy: call-overload
    @hookimpl.claimed  # only pyright: reportArgumentType
    def see(jobs: Sequence[JobContext]) -> None: ...


# --- an argument of a wrong type ------------------------------------------------------------------------------------


@hookimpl.before_job  # mypy: call-overload; pyright: reportArgumentType
def of_text(ctx: str) -> None: ...


@hookimpl.on_error  # mypy: call-overload; pyright: reportArgumentType
def too_narrow(ctx: JobContext, error: ValueError) -> None: ...


@hookimpl.after_job  # mypy: call-overload; pyright: reportArgumentType
def of_number(result: int) -> None: ...


@hookimpl.settled  # mypy: call-overload; pyright: reportArgumentType
def of_list(outcomes: list[Outcome]) -> None: ...


class Types:
    @hookimpl.configure_job  # mypy: call-overload; pyright: reportArgumentType
    def configure(self, job: NewJob) -> None: ...

    @hookimpl.dedup_key  # mypy: call-overload; pyright: reportArgumentType
    def key(self, job: JobDefinition) -> None: ...

    @hookimpl.claimed(tryfirst=True)  # mypy: type-var; pyright: reportArgumentType
    def see(self, batch: EnqueueBatch) -> None: ...

    @hookimpl.around_enqueue  # mypy: call-overload; pyright: reportArgumentType
    def enqueue(self, batch: Sequence[NewJob]) -> Iterator[None]:
        yield

    @hookimpl.settle_tx  # mypy: call-overload; pyright: reportArgumentType
    async def of_one_driver(self, tx: "asyncpg.Connection[asyncpg.Record]") -> None: ...

    @hookimpl.adapt_connection  # mypy: call-overload; pyright: reportArgumentType
    def adapt(self, obj: object) -> str:
        return ""

    @hookimpl.settle_tx  # mypy: call-overload; pyright: reportArgumentType
    async def write(self, tx: "asyncpg.Pool[asyncpg.Record]", outcomes: Sequence[Outcome]) -> None: ...


# --- a wrong return type --------------------------------------------------------------------------------------------


@hookimpl.around_job  # mypy: call-overload; pyright: reportArgumentType
def no_manager(ctx: JobContext) -> int:
    return 1


@hookimpl.around_job  # mypy: call-overload; pyright: reportArgumentType
def yields_numbers(ctx: JobContext) -> Iterator[int]:
    yield 1


@hookimpl.before_job  # mypy: call-overload; pyright: reportArgumentType
def returns_text(ctx: JobContext) -> str:
    return ""


@hookimpl.after_job  # mypy: call-overload; pyright: reportArgumentType
async def awaited_text(ctx: JobContext) -> str:
    return ""


@hookimpl.before_job  # mypy: call-overload; pyright: reportArgumentType
def yields(ctx: JobContext) -> Iterator[None]:
    yield


class Returns:
    @hookimpl.retry_delay  # mypy: call-overload; pyright: reportArgumentType
    def delay(self, ctx: JobContext) -> str:
        return "soon"

    @hookimpl.dedup_key  # mypy: call-overload; pyright: reportArgumentType
    def key(self, job: NewJob) -> int:
        return 1

    @hookimpl.database_url(tryfirst=True)  # mypy: type-var; pyright: reportArgumentType
    async def url(self) -> bytes:
        return b""

    @hookimpl.lifespan  # mypy: call-overload; pyright: reportArgumentType
    def life(self, app: Soniq) -> list[None]:
        return []

    @hookimpl.provide  # mypy: call-overload; pyright: reportArgumentType
    def value(self, annotation: object) -> Callable[[JobContext], int]:
        return lambda ctx: 1

    @hookimpl.background_tasks  # mypy: call-overload; pyright: reportArgumentType
    def task(self, app: Soniq) -> Task:
        return Task(name="one", run=self.run)

    async def run(self) -> None: ...


# --- async def where it is def only ---------------------------------------------------------------------------------


@hookimpl.configure_job  # mypy: call-overload; pyright: reportArgumentType
async def configure(job: JobDefinition) -> None: ...


class Waiting:
    @hookimpl.serializers  # mypy: call-overload; pyright: reportArgumentType
    async def formats(self) -> list[Serializer]:
        return []

    @hookimpl.provide  # mypy: call-overload; pyright: reportArgumentType
    async def value(self, annotation: object) -> None: ...

    @hookimpl.background_tasks(tryfirst=True)  # mypy: type-var; pyright: reportArgumentType
    async def tasks(self, app: Soniq) -> list[Task]:
        return []

    @hookimpl.register_commands  # mypy: call-overload; pyright: reportArgumentType
    async def commands(self, cli: click.Group) -> None: ...


# --- options --------------------------------------------------------------------------------------------------------


@hookimpl.before_job(first=True)  # mypy: call-overload; pyright: reportCallIssue
def unknown_option(ctx: JobContext) -> None: ...


@hookimpl(tryfirst="yes")  # mypy: call-overload; pyright: reportArgumentType
def before_job(ctx: JobContext) -> None: ...


@hookimpl(wrapper=True)  # mypy: call-overload; pyright: reportCallIssue
def around_job(ctx: JobContext) -> Iterator[None]:
    yield


# --- an app's own decorators ----------------------------------------------------------------------------------------


def decorate(app: Soniq) -> None:
    @app.before_job  # mypy: type-var; pyright: reportArgumentType
    def of_text(ctx: str) -> None: ...

    @app.before_job  # mypy: type-var; pyright: reportArgumentType
    def too_many(ctx: JobContext, result: object) -> None: ...

    @app.before_job  # mypy: type-var; pyright: reportArgumentType
    def returns(ctx: JobContext) -> int:
        return 1

    @app.after_job  # mypy: type-var; pyright: reportArgumentType
    def by_name(ctx: JobContext, *, result: object) -> None: ...

    @app.on_error  # mypy: type-var; pyright: reportArgumentType
    async def too_narrow(ctx: JobContext, error: ValueError) -> None: ...

    @app.around_job  # mypy: type-var; pyright: reportArgumentType
    def no_manager(ctx: JobContext) -> int:
        return 1

    @app.around_jobs  # mypy: attr-defined; pyright: reportAttributeAccessIssue
    def plural(ctx: JobContext) -> Iterator[None]:
        yield
