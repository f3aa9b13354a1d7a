"""The contract, one function a hook: what a plugin may implement, when it is called, and what an
error in it does.

Implement any of them under the same name, marked `@hookimpl`, with whichever of the arguments you
need:

    from soniq import hookimpl

    @hookimpl
    async def after_job(ctx, result): ...

`def` or `async def`, except where a hook is `def_only`. The decorator says how the implementations
are called, and which version of the contract brought the hook.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING

from soniq.hooks.definition import JobDefinition
from soniq.hooks.hook import Hook, hook, hooks_in
from soniq.hooks.values import (
    Action,
    EnqueueBatch,
    ForgottenJob,
    Holds,
    IncomingJob,
    Jobs,
    Migration,
    OwedEvent,
    OwnHook,
    Presentable,
    ResultStore,
    Serializer,
    Task,
)
from soniq.job.context import JobContext
from soniq.job.job import App
from soniq.job.new import NewJob
from soniq.job.outcome import Outcome
from soniq.signals import Cancel, Retry
from soniq.status import JobStatus, WorkerStatus
from soniq.transaction import TransactionConnection
from soniq.unique import Dedup

if TYPE_CHECKING:
    import click

CONTRACT_VERSION = 2


@hook("first result")
def database_url(app: App) -> str | None:
    """The URL to use where none was given. An error ends the start-up."""


@hook("context manager")
def lifespan(app: App) -> AsyncIterator[None]:  # type: ignore[empty-body]
    """A context manager around the app's life, from first use to close; left in reverse order.

    An error while entering leaves those entered and ends the start-up; one while leaving is logged,
    the others leave.
    """


@hook("collected", since=2, def_only=True)
def withdraw_hooks(app: App) -> Sequence[str]:  # type: ignore[empty-body]
    """The names of hooks that the plugin implements and does not need, with the settings that this
    app has: they are as if it had not implemented them, and cost nothing. Once for each start,
    inside `lifespan`. An error ends the start-up.
    """


@hook("in order", since=2)
def started(app: App) -> None:
    """The app has started and can be used, here already: to enqueue, to look up, to read and write
    the plugin's tables. Once for each start, before the call that started the app returns.

    An error ends the start, and what was begun is closed.
    """


@hook("collected", since=2, def_only=True)
def jobs() -> Jobs:  # type: ignore[empty-body]
    """The jobs that the plugin defines, which the app then has: their names begin with the plugin's
    name. An error ends the start-up.
    """


@hook("collected", since=2, def_only=True)
def hookspecs() -> Sequence[OwnHook]:  # type: ignore[empty-body]
    """Hooks of the plugin's own, which other plugins and the application implement: their names
    begin with the plugin's. An error ends the start-up.
    """


@hook("collected", def_only=True)
def serializers() -> Sequence[Serializer]:  # type: ignore[empty-body]
    """Serializers that jobs may name. Rows keep the name, so that they stay readable after a
    change.
    """


@hook("collected", def_only=True)
def result_stores() -> Sequence[ResultStore]:  # type: ignore[empty-body]
    """Where results may go; each is asked in turn, the row of the job last."""


@hook("first result", def_only=True)
def provide(
    annotation: object, job: JobDefinition
) -> "Callable[[JobContext], AbstractAsyncContextManager[object]] | None":
    """Whether a parameter with this annotation is provided, not passed: a factory `(ctx) -> context
    manager`.

    Asked once for each parameter of each job, Optional and Annotated taken off; `job.threaded` says
    whether the value is for a plain `def`, which runs in a thread. An error here ends the start-up;
    one while entering the context manager fails the attempt. `DatabaseUnavailable` or a
    `ConnectionError` there puts the job off, uncharged: it never began.
    """


@hook("in order", def_only=True)
def configure_job(job: JobDefinition) -> None:
    """Reads the job's typed options, fills what was left open, holds and marks its jobs, takes it
    out of hooks. Once for each job.

    An error ends the start-up.
    """


@hook("collected", def_only=True)
def background_tasks(app: App) -> Sequence[Task]:  # type: ignore[empty-body]
    """Tasks that run beside each worker. One that fails is logged and started again, ever later."""


@hook("collected", def_only=True)
def housekeeping(  # type: ignore[empty-body]
    app: App,
) -> Sequence[Callable[[], AbstractContextManager[object]]]:
    """Context managers around what Soniq does for itself: a worker's own statements, wake-ups.

    Each is made and entered anew by a worker and by what sends wake-ups, in its own task; attempts,
    enqueues and lookups are outside. It is entered at the start and left at the end of a worker,
    and is told of no error. An error in one is logged, and the work goes on without it.
    """


@hook("collected", def_only=True)
def migrations() -> Sequence[Migration]:  # type: ignore[empty-body]
    """The plugin's own SQL, applied once each, in order, in a schema of its own. An error ends the
    set-up.
    """


@hook("in order", def_only=True)
def register_commands(cli: "click.Group") -> None:
    """Adds commands to the command line. An error is a warning that names the plugin."""


@hook("collected", since=2)
def status_fields(app: App) -> Mapping[str, object]:  # type: ignore[empty-body]
    """Fields of the plugin's own, by name, in `soniq status`: how what it keeps stands.

    Values are shown in a line each, and as they are with `--json`. One that waits for longer than
    `hook_timeout` is ended. An error is a warning that names the plugin.
    """


@hook("collected", since=2)
def inspect_fields(  # type: ignore[empty-body]
    app: App, job: JobStatus
) -> Mapping[str, object]:
    """Fields of the plugin's own, by name, in `soniq inspect`: what it knows about this job.

    As `status_fields`; none where it knows nothing. An error is a warning that names the plugin.
    """


@hook("first result", since=2)
def present(job_name: str, what: Presentable, value: object) -> object:
    """What operators are shown of a value of a job, in `soniq inspect` and wherever else jobs are
    looked at: the value as JSON has it, without what is secret. None: ask the next.

    What the job's `hide` names is masked before. The core's own, asked last, masks by the names of
    keys; one that answers before it has the last word. After an error, and where it waits for
    longer than `hook_timeout`, a placeholder is shown in place of the value.
    """


@hook("first result")
def adapt_connection(obj: object) -> TransactionConnection | None:
    """What `connection=` of an enqueue was given, as a connection in its open transaction; None:
    ask the next.

    An error goes to the caller, and nothing is enqueued.
    """


@hook("context manager")
def around_enqueue(batch: EnqueueBatch) -> AsyncIterator[None]:  # type: ignore[empty-body]
    """A context manager around each enqueue call, also a bulk one. Before: headers may be changed,
    jobs held and marked; after: ids.

    An error goes to the caller; before the insert, nothing is enqueued.
    """


@hook("first result")
def dedup_key(job: NewJob) -> str | Dedup | None:
    """The key under which a job is unique: a string, a `Dedup`, `NO_DEDUP`, or None (ask the next).

    Asked for each job whose enqueue names no `dedup_key=`. An error goes to the caller, and nothing
    is enqueued.
    """


@hook("in order", since=2)
def enqueue_tx(tx: TransactionConnection, jobs: Sequence[IncomingJob]) -> None:
    """Inside the transaction that inserts jobs, on each way in, also as children, and where an
    operator retries them.

    What is written through `tx` is committed with the jobs, or not at all. `tx` may be your users'
    transaction, which stays open for long: append rows, and neither lock nor change what others
    need. A job with a dedup key may turn out a duplicate, and is none then. An error goes to the
    caller, and nothing is enqueued.
    """


@hook("observer")
def claimed(batch: Sequence[JobContext]) -> None:
    """After each claim that brought jobs. An error is logged."""


@hook("context manager")
def around_job(ctx: JobContext) -> AsyncIterator[None]:  # type: ignore[empty-body]
    """A context manager around an attempt, from before the decoding until `ctx.outcome` is decided;
    it sees the error.

    An error (or a signal) while entering ends the attempt with it, and so does waiting for longer
    than `hook_timeout`. An error while leaving is logged: the outcome stands. The job's timeout is
    inside it.
    """


@hook("observer")
def before_job(ctx: JobContext) -> None:
    """Before the handler, in its context, so that context variables reach it. An error is logged;
    the job runs.

    A signal raised here takes effect, and the handler is skipped.
    """


@hook("observer")
def after_job(ctx: JobContext, result: object) -> None:
    """The attempt has succeeded: returned, encoded, stored, an injected connection committed. An
    error is logged.
    """


@hook("observer")
def on_error(ctx: JobContext, error: BaseException) -> None:
    """Each failed attempt, with the exception itself; also one whose worker died. An error is
    logged.

    A signal raised here takes effect.
    """


@hook("first result")
def retry_delay(ctx: JobContext, error: BaseException) -> float | Retry | Cancel | None:
    """What follows a failed attempt with attempts left, where the job's own `retry=` does not say.

    Seconds, `Retry(delay)`, `Cancel(reason)`, or None (ask the next). An error is logged, and the
    next is asked.
    """


@hook("in order")
def settle_tx(tx: TransactionConnection, outcomes: Sequence[Outcome], holds: Holds) -> None:
    """Inside the transaction that settles, for the jobs that really changed, by a worker, a
    rescue or an operator.

    With `@hookimpl(marked=True)` only for jobs that carry the plugin's mark; those without one cost
    nothing then. `holds` holds jobs and releases them: also those that are requeued here.

    `@hookimpl(marked=True, sql_function=...)` names a function in the plugin's schema that does the
    same: `(ids uuid[], statuses text[], claims bigint[], out released uuid[], out last uuid[], out
    note jsonb)`, the jobs to release, those behind all that are due, and what is owed to the plugin
    itself. A worker calls it in place of the hook for jobs that have ended, carry no other mark and
    bring no children, in the one statement that settles and claims, so that what it releases is
    claimed at once. It must wait for nothing. Where it fails, the hook is called.

    What is written through `tx` is committed with the outcomes, or not at all. An error rolls both
    back, and the attempt concerned fails with it; one that a plugin has refused three times is
    settled without that plugin, and logged; where it has the plugin's mark, `owed_tx` hears of it.
    One that a call causes (`cancel`) is raised by that call instead. Do not commit, and keep it
    short. `tx` is the one that a provider gave to `complete_in`, where there is one: it may be of
    another driver.
    """


@hook("in order", since=2)
def owed_tx(tx: TransactionConnection, events: Sequence[OwedEvent], holds: Holds) -> None:
    """Told later of what happened to jobs with the plugin's mark, and could not be told in the
    transaction in which it did: in a short transaction of a worker that has the plugin.

    `@hookimpl(sql_function=...)` names a function in the plugin's schema that does the same for
    jobs that came in, as far as it can: `(ids uuid[], out told uuid[], out released uuid[], out
    last uuid[], out note jsonb)`, the jobs that it is done with, and the rest as that of
    `settle_tx`. A worker calls it first, in one statement, and tells the hook of what is left. It
    must wait for nothing. Where it fails, the hook is called.

    An event is told once: what is written through `tx` is committed with that, or not at all. An
    error rolls both back: it is told again, ever later, a minute at most, and logged once a minute.
    Workers tell of several batches at once, so that what is told later may have happened earlier.
    """


@hook("observer")
def settled(outcomes: Sequence[Outcome]) -> None:
    """After outcomes were committed, a batch at a time: those of workers, rescues and operators.
    An error is logged.
    """


@hook("observer", since=2)
def acted(action: Action) -> None:
    """After an operator has retried, cancelled or deleted jobs, or paused or resumed a queue, by a
    call of the app or a command: for an audit trail.

    Of many jobs it is called for each batch, with those that changed, before their result is known
    to the caller. What workers and plugins do by themselves is not told. An error is logged.
    """


@hook("observer", since=2)
def workers_lost(workers: Sequence[WorkerStatus]) -> None:
    """After workers were taken for dead, as they were silent for longer than their lease: told by
    the worker that found them, with how each was when it was last seen. Those that ended in order
    are not told of. An error is logged.
    """


@hook("in order", since=2)
def forgotten_tx(tx: TransactionConnection, jobs: Sequence[ForgottenJob]) -> None:
    """Inside the transaction that forgets finished jobs, by a worker or an operator, some thousand
    at a time.

    What is written through `tx` is committed with it. An error rolls both back: a worker tries it
    again later, and an operator (`prune`, `delete`) gets it. Where the plugin is not loaded nobody
    is told, then or later.
    """


HOOKS: Mapping[str, Hook] = hooks_in(globals())
"""Every hook of the contract, by name."""
