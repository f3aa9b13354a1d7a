"""The contract, one function a hook: what a plugin may implement, when it is called, and what an error in it does.

Implement any of them under the same name, marked `@hookimpl`, with whichever of the arguments you need:

    from soniq import hookimpl

    @hookimpl
    async def after_job(ctx, result): ...

`def` or `async def`, unless a hook says "def only". Every hook is there since version 1 of the contract.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import click
from pluggy import HookspecMarker

from soniq.hooks.values import (
    EnqueueBatch,
    Migration,
    NewJob,
    ResultStore,
    Serializer,
    Task,
    TransactionConnection,
)
from soniq.job import JobContext, Outcome
from soniq.signals import Cancel, Retry
from soniq.unique import Dedup

if TYPE_CHECKING:
    from soniq.app import Soniq
    from soniq.definition import JobDefinition

CONTRACT_VERSION = 1

hookspec = HookspecMarker("soniq")


@hookspec
def database_url(app: "Soniq") -> str | None:
    """The URL to use where none was given. First result wins. An error ends the start-up."""


@hookspec
def lifespan(app: "Soniq") -> AsyncIterator[None]:  # type: ignore[empty-body]
    """A context manager around the app's life, from first use to close; left in reverse order.

    An error while entering leaves those entered and ends the start-up; one while leaving is logged, the others leave.
    """


@hookspec
def serializers() -> Sequence[Serializer]:  # type: ignore[empty-body]
    """Serializers that jobs may name. def only. Rows keep the name, so that they stay readable after a change."""


@hookspec
def result_stores() -> Sequence[ResultStore]:  # type: ignore[empty-body]
    """Where results may go; each is asked in turn, the row of the job last. def only."""


@hookspec
def provide(
    annotation: object, job: "JobDefinition"
) -> "Callable[[JobContext], AbstractAsyncContextManager[object]] | None":
    """Whether a parameter with this annotation is provided, not passed: a factory `(ctx) -> context manager`.

    Asked once for each parameter of each job, Optional and Annotated taken off; `job.threaded` says whether the value
    is for a plain `def`, which runs in a thread. def only. First result wins. An error here ends the start-up; one
    while entering the context manager fails the attempt.
    """


@hookspec
def configure_job(job: "JobDefinition") -> None:
    """Reads the job's typed options, fills what was left open, takes it out of hooks. def only. Once for each job.

    An error ends the start-up.
    """


@hookspec
def background_tasks(app: "Soniq") -> Sequence[Task]:  # type: ignore[empty-body]
    """Tasks that run beside each worker. def only. One that fails is logged and started again, ever later."""


@hookspec
def migrations() -> Sequence[Migration]:  # type: ignore[empty-body]
    """The plugin's own SQL, applied once each, in order, in a schema of its own. def only. An error ends the set-up."""


@hookspec
def register_commands(cli: click.Group) -> None:
    """Adds commands to the command line. def only. An error is a warning that names the plugin."""


@hookspec
def adapt_connection(obj: object) -> TransactionConnection | None:
    """What `connection=` of an enqueue was given, as a connection in its open transaction; None: ask the next.

    First result wins. An error goes to the caller, and nothing is enqueued.
    """


@hookspec
def around_enqueue(batch: EnqueueBatch) -> AsyncIterator[None]:  # type: ignore[empty-body]
    """A context manager around each enqueue call, also a bulk one. Before: headers may be changed; after: ids.

    An error goes to the caller; before the insert, nothing is enqueued.
    """


@hookspec
def dedup_key(job: NewJob) -> str | Dedup | None:
    """The key under which a job is unique: a string, a `Dedup`, `NO_DEDUP`, or None (ask the next). First result wins.

    Asked for each job whose enqueue names no `dedup_key=`. An error goes to the caller, and nothing is enqueued.
    """


@hookspec
def claimed(batch: Sequence[JobContext]) -> None:
    """After each claim that brought jobs. An error is logged."""


@hookspec
def around_job(ctx: JobContext) -> AsyncIterator[None]:  # type: ignore[empty-body]
    """A context manager around an attempt, from before the decoding until `ctx.outcome` is decided; it sees the error.

    An error (or a signal) while entering ends the attempt with it, and so does waiting for longer than `hook_timeout`.
    An error while leaving is logged: the outcome stands. The job's timeout is inside it.
    """


@hookspec
def before_job(ctx: JobContext) -> None:
    """Before the handler, in its context, so that context variables reach it. An error is logged; the job runs.

    A signal raised here is obeyed, and the handler is skipped.
    """


@hookspec
def after_job(ctx: JobContext, result: object) -> None:
    """The attempt has succeeded: returned, encoded, stored, an injected connection committed. An error is logged."""


@hookspec
def on_error(ctx: JobContext, error: BaseException) -> None:
    """Each failed attempt, with the exception itself; also one whose worker died. An error is logged.

    A signal raised here is obeyed.
    """


@hookspec
def retry_delay(ctx: JobContext, error: BaseException) -> float | Retry | Cancel | None:
    """What follows a failed attempt with attempts left, where the job has no `retry=`. First result wins.

    Seconds, `Retry(delay)`, `Cancel(reason)`, or None (ask the next). An error is logged, and the next is asked.
    """


@hookspec
def settle_tx(tx: TransactionConnection, outcomes: Sequence[Outcome]) -> None:
    """Inside the transaction that settles, for the jobs that really changed, whoever changed them.

    What is written through `tx` is committed with the outcomes, or not at all. An error rolls both back, and the
    attempt concerned fails with it; one that a plugin has refused three times is settled without that plugin, and
    logged. One that a person causes (`cancel`) goes to that person instead. Do not commit, and keep it short. `tx` is
    the one that a provider gave to `complete_in`, where there is one: it may be of another driver.
    """


@hookspec
def settled(outcomes: Sequence[Outcome]) -> None:
    """After outcomes were committed, a batch at a time, whoever caused them. An error is logged."""


SPECS: dict[str, Callable[..., Any]] = {
    hook.__name__: hook
    for hook in (
        database_url, lifespan, serializers, result_stores, provide, configure_job, background_tasks, migrations,
        register_commands, adapt_connection, around_enqueue, dedup_key, claimed, around_job, before_job, after_job,
        on_error, retry_delay, settle_tx, settled,
    )
}  # fmt: skip
"""Every hook of the contract, by name."""

DEF_ONLY = frozenset(
    {"serializers", "result_stores", "provide", "configure_job", "background_tasks", "migrations", "register_commands"}
)
"""Hooks that are called outside any event loop."""

NEAREST_FIRST = frozenset({"database_url", "provide", "adapt_connection", "dedup_key", "retry_delay"})
"""Hooks where the first result wins: application, passed plugins, discovered ones, the core's defaults."""

KINDS: Mapping[str, str] = {
    **dict.fromkeys(sorted(NEAREST_FIRST), "first result"),
    **dict.fromkeys(("lifespan", "around_enqueue", "around_job"), "context manager"),
    **dict.fromkeys(("serializers", "result_stores", "background_tasks", "migrations"), "collected"),
    **dict.fromkeys(("configure_job", "register_commands", "settle_tx"), "in order"),
    **dict.fromkeys(("claimed", "before_job", "after_job", "on_error", "settled"), "observer"),
}
"""How the implementations of each hook are called."""

SINCE: Mapping[str, int] = dict.fromkeys(SPECS, 1)
"""The version of the contract that brought each hook."""
