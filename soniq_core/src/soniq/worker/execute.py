"""One attempt at one job: decode, provide, before_job, handler, encode, store, commit, after_job or on_error.

`Attempt.run` reads as the table of contents; what ends an attempt early (`end`) is a cause plus a cancelled task.
"""

import asyncio
import contextvars
import logging
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, cast

import msgspec

from soniq.definition import CompiledJob
from soniq.errors import (
    AttemptTimeout,
    LeaseLost,
    RetriesExhausted,
    SerializationError,
    SoniqError,
    UnknownArguments,
    WorkerStopped,
)
from soniq.hooks.dispatch import Entered, InTransaction, limited, resolved
from soniq.hooks.values import NewJob, Serializer, TransactionConnection
from soniq.job import Backoff, Outcome
from soniq.lookup import error_json
from soniq.postgres.connections import Database, is_asyncpg
from soniq.results import NOTHING, Kept, Results, is_stream
from soniq.signals import Cancel, Retry, Signal, Snooze
from soniq.worker.claim import NO_LANES, Claimed, Insert
from soniq.worker.deadlines import Deadlines
from soniq.worker.settle import FAILED, SNOOZED, STOPPED, UNKNOWN, UNKNOWN_FOR, Settlement, arrays
from soniq.worker.state import WorkerState

log = logging.getLogger("soniq.worker")

Cause = Literal["timeout", "cancelled", "stopped", "lost"]
"""Why an attempt is ended from outside."""

OWN_CODE = str(Path(__file__).parent.parent)
LONGEST_TRACEBACK = 50_000


class Environment(msgspec.Struct, frozen=True):
    """What the attempts and slots of a worker share."""

    database: Database
    serializers: Mapping[str, Serializer]
    results: Results
    settle_tx: InTransaction
    insert: Insert
    state: WorkerState
    threads: ThreadPoolExecutor
    prefetch: int
    deadlines: Deadlines


class Attempt:
    """One attempt at a claimed job, in a task of its own."""

    __slots__ = (
        "_decided", "_environment", "_job", "begun", "cause", "claimed", "ctx", "deadline", "started", "task", "thread"
    )  # fmt: skip

    def __init__(self, claimed: Claimed, job: CompiledJob, worker_id: str, environment: Environment) -> None:
        self.claimed = claimed
        self._job = job
        self._environment = environment
        self._decided = False
        self.ctx = claimed.context(worker_id, environment.state)
        self.cause: Cause | None = None
        self.deadline: float | None = None
        self.started = time.monotonic()
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        """Whether its task has taken a step: one that has not would be cancelled before it could say anything."""
        self.thread = False
        """Whether a thread runs the handler now: it cannot be ended, only waited for."""

    @property
    def timeout(self) -> float | None:
        """Seconds that the attempt may take: the job's own, or that of the enqueue."""
        return self.claimed.timeout if self.claimed.timeout is not None else self._job.timeout

    def expire(self) -> None:
        """Its deadline is past."""
        self.end("timeout")

    def end(self, cause: Cause) -> None:
        """End the attempt from outside. A thread is not ended; what it leads to is decided when it returns."""
        if self.cause is None and not self._decided:
            self.cause = cause
            self.ctx.cancelled = cause != "stopped"
            if self.task is not None and self.begun and not self.thread:
                self.task.cancel()

    async def give_up(self) -> Settlement:
        """The worker stops, and the attempt cannot be ended: what is settled while it still runs."""
        self._decided = True
        return await self._stopped()

    def unjudged(self, error: BaseException) -> Settlement:
        """What is settled where judging the attempt failed: it counts, and ends the job if it was the last."""
        status = "dead" if self.ctx.attempt >= self.ctx.max_attempts else None
        settlement = self._settlement(
            status, status or "retry", error=error, back=FAILED, delay=Backoff().delay(self.ctx.attempt)
        )
        return msgspec.structs.replace(settlement, error=error_json(type_name(error), text_of(error), None))

    async def run(self) -> Settlement | None:
        """Run it; what is to be settled, or None where the job is no longer this worker's."""
        entered: list[tuple[str, Entered]] = []
        error: BaseException | None = None
        settlement: Settlement | None = None
        try:
            if self.cause is not None:  # ended before it began
                raise asyncio.CancelledError
            if self._job.around_job:
                limit = self._environment.database.settings.hook_timeout
                await limited(self._job.around_job.enter(entered, self.ctx), limit)
            if self.timeout is not None:
                self._environment.deadlines.add(self, self.timeout)
            settlement = await self._perform()
        except BaseException as raised:
            error = raised
            settlement = await self._judge(raised)
        finally:  # also where it cannot be judged
            outcome = self.ctx.outcome = settlement.outcome if settlement else None
            if entered:
                await self._job.around_job.leave(entered, (outcome and outcome.error) or error)
        return settlement

    # --- the attempt itself ---------------------------------------------------------------------------------------

    async def _perform(self) -> Settlement:
        job, ctx = self._job, self.ctx
        arguments = self._decode()
        async with AsyncExitStack() as provided:
            for name, factory in job.signature.provided.items():
                arguments[name] = await _enter(provided, factory(ctx))
            if job.before_job:
                signal = await job.before_job(ctx)
                if signal is not None:
                    raise signal
            value = await self._call(arguments)
            settlement = self._settlement("done", "done", kept=await self._store(value), children=ctx._children or ())
            if ctx.completing is not None:
                await self._complete(ctx.completing, settlement)
                settlement = msgspec.structs.replace(settlement, written=True)
                self._decided = True  # a commit is not to be interrupted
                ctx._children = None
        self._decided = True
        if job.after_job:
            await job.after_job(ctx, value)
        return settlement

    def _decode(self) -> dict[str, object]:
        claimed = self.claimed
        serializer = self._environment.serializers.get(claimed.serializer)
        if serializer is None:
            raise SerializationError(
                f"{claimed.name}: no plugin of this worker provides the serializer {claimed.serializer!r}",
                job=claimed.name,
            )
        try:
            arguments = msgspec.structs.asdict(serializer.loads(claimed.args, self._job.signature.arguments))
        except Exception as error:
            if unknown := self._unknown_arguments(serializer):
                raise UnknownArguments(
                    f"{claimed.name} takes no argument {', '.join(map(repr, unknown))} here", job=claimed.name
                ) from None
            raise Undecodable(
                f"{claimed.name}: the stored arguments cannot be read ({claimed.serializer}): {error}", job=claimed.name
            ) from error
        self.ctx.args = dict(arguments) if self._job.signature.provided else arguments
        return arguments

    def _unknown_arguments(self, serializer: Serializer) -> list[str]:
        """The names of stored arguments that the job does not take here: they may come from newer code, or older."""
        try:
            stored = serializer.loads(self.claimed.args, Any)
        except Exception:
            return []
        return sorted(map(str, stored.keys() - self._job.signature.names)) if isinstance(stored, dict) else []

    async def _call(self, arguments: Mapping[str, object]) -> object:
        """Call the handler: `async def` here, `def` in a thread, with the context variables of this attempt."""
        if self._job.threaded:
            self.thread = True
            try:
                call = partial(contextvars.copy_context().run, partial(self._job.function, **arguments))
                loop = asyncio.get_running_loop()
                value, error = await loop.run_in_executor(self._environment.threads, _called, call)
            finally:
                self.thread = False
            if error is not None:
                raise error
            value = await resolved(value)
        else:
            value = self._job.function(**arguments)
            if not is_stream(value):
                value = await value
        if self.cause is not None:  # it was asked to end, and returned all the same
            _uncancel()
            if self.cause == "timeout":
                raise AttemptTimeout(self.timeout or 0.0)
            if self.cause == "lost":
                raise LeaseLost(f"job {self.ctx.job_id} was taken from this worker; its result is not kept")
        if isinstance(value, Signal):
            raise value
        return value

    async def _store(self, value: object) -> Kept:
        """Encode the result, checked as `get_result` will read it, and store it; a stream goes as it is."""
        job, returns = self._job, self._job.signature.returns
        if value is None and (returns is Any or returns is type(None)):
            return NOTHING
        if returns is Any and is_stream(value):
            return await self._environment.results.put_stream(self.ctx, value)
        serializer = self._environment.serializers[self.claimed.serializer]
        try:
            data = serializer.dumps(value)
            if returns is not Any:
                serializer.loads(data, returns)
        except Exception as error:
            raise SerializationError(
                f"{job.name}: the result cannot be stored as {returns}: {error}; got {type(value).__name__}",
                job=job.name,
            ) from error
        return await self._environment.results.put(self.ctx, data)

    async def _complete(self, connection: TransactionConnection, settlement: Settlement) -> None:
        """Write the completion in the open transaction of an injected connection."""
        if is_asyncpg(connection) and not connection.is_in_transaction():
            raise SoniqError(f"{self.claimed.name} ended the transaction that was to complete it; nothing is completed")
        header, *_ = await connection.fetch(
            self._environment.database.sql["settle_and_claim"],
            self.ctx.worker_id, *arrays([settlement]), *NO_LANES, 0,
        )  # fmt: skip
        if header[1] != 1:
            raise LeaseLost(f"job {self.ctx.job_id} was taken from this worker; its transaction was rolled back")
        if settlement.children:
            await self._environment.insert(settlement.children, connection)
        if self._environment.settle_tx:
            await self._environment.settle_tx(connection, [(settlement.outcome, ())])

    # --- how it ended ---------------------------------------------------------------------------------------------

    async def _judge(self, error: BaseException) -> Settlement | None:
        """What an attempt that did not succeed comes to; calls `on_error` where it failed."""
        self._decided = True
        self.ctx._children = None
        if isinstance(error, LeaseLost):
            log.warning("%s", error)
            return None
        if self.cause is not None:  # whatever the handler made of it
            _uncancel()
            if self.cause == "lost":
                return None
            if self.cause == "cancelled":
                return self._cancelled((isinstance(error, Cancel) and error.reason) or "cancelled while it ran")
            if self.cause == "stopped" and not isinstance(error, Signal):
                return await self._stopped()
            if self.cause == "timeout" and not isinstance(error, AttemptTimeout):
                timeout = AttemptTimeout(self.timeout or 0.0).with_traceback(error.__traceback__)
                timeout.__cause__ = None if isinstance(error, asyncio.CancelledError) else error
                error = timeout
        if isinstance(error, Signal):
            return await self._obey(error)
        if isinstance(error, UnknownArguments) and (self.claimed.unknown_for or 0.0) <= UNKNOWN_FOR:
            return self._deferred(error)
        return await self._failed(error)

    async def _obey(self, signal: Signal, error: BaseException | None = None) -> Settlement | None:
        """Do as a signal says; `error` is the failure that `on_error` answered with it."""
        if isinstance(signal, Snooze):
            return self._settlement(None, "snooze", back=SNOOZED, delay=signal.delay)
        if isinstance(signal, Cancel):
            return self._cancelled(signal.reason)
        if self.ctx.attempt < self.ctx.max_attempts:
            chosen = isinstance(signal, Retry) and signal.delay is not None
            return self._again(error, cast("Retry", signal) if chosen else await self._delay(error or signal))
        if error is not None:
            return self._dead(error)
        exhausted = RetriesExhausted(self.ctx.attempt)
        exhausted.__cause__ = signal
        return await self._failed(exhausted)

    async def _failed(self, error: BaseException) -> Settlement | None:
        signal = await self._job.on_error(self.ctx, error) if self._job.on_error else None
        if signal is not None:
            return await self._obey(signal, error)
        if self.ctx.attempt < self.ctx.max_attempts and not isinstance(error, Undecodable | UnknownArguments):
            return self._again(error, await self._delay(error))
        return self._dead(error)

    def _dead(self, error: BaseException) -> Settlement:
        log.error("%s failed, and is dead: %s", self._described(), described(error))
        return self._settlement("dead", "dead", error=error)

    def _deferred(self, error: "UnknownArguments") -> Settlement:
        """Give the job back without a charge, for a worker whose code takes what it was enqueued with."""
        log.warning("%s waits for a worker with other code: %s", self._described(), error)
        told = error_json(type_name(error), text_of(error), None)
        return Settlement(id=self.claimed.id, claim=self.claimed.claim, error=told, age=0.0, back=UNKNOWN)

    async def _stopped(self) -> Settlement:
        error = WorkerStopped("the worker stopped before the attempt had ended; the job runs again")
        if self._job.on_error:
            await self._job.on_error(self.ctx, error)
        log.warning("%s had not ended when the worker stopped, and runs again", self._described())
        return self._settlement(None, "stopped", back=STOPPED, error=error)

    def _again(self, error: BaseException | None, verdict: "Retry | Cancel") -> Settlement:
        if isinstance(verdict, Cancel):
            return self._cancelled(verdict.reason)
        delay = verdict.delay or 0.0
        why = described(error) if error else "the handler asked for a retry"
        log.warning("%s failed, next in %.1f s: %s", self._described(), delay, why)
        return self._settlement(None, "retry", back=FAILED, delay=delay, error=error)

    async def _delay(self, error: BaseException) -> "Retry | Cancel":
        """When a failed attempt is tried again: the job's own policy, else the hook, nearest first."""
        policy, ctx = self._job.retry, self.ctx
        if isinstance(policy, Backoff):
            return Retry(policy.delay(ctx.attempt))
        if isinstance(policy, int | float):
            return Retry(policy)
        calls = self._job.retry_delay.calls if policy is None else (("retry=", policy), *self._job.retry_delay.calls)
        for whose, call in calls:
            try:
                answer = await resolved(call(ctx, error))
                if isinstance(answer, Cancel) or (isinstance(answer, Retry) and answer.delay is not None):
                    return answer
                if answer is not None and not isinstance(answer, Retry):
                    return Retry(answer)
            except Exception as failure:
                log.error("retry_delay of %s failed for %s: %r", whose, ctx.job_name, failure, exc_info=failure)
        return Retry(Backoff().delay(ctx.attempt))

    def _cancelled(self, reason: str | None) -> Settlement:
        log.info("%s was cancelled%s", self._described(), f": {reason}" if reason else "")
        return self._settlement("cancelled", "cancel", reason=reason)

    def _settlement(
        self,
        status: str | None,
        kind: str,
        *,
        error: BaseException | None = None,
        reason: str | None = None,
        kept: Kept = NOTHING,
        children: Sequence[NewJob] = (),
        back: int = 0,
        delay: float = 0.0,
    ) -> Settlement:
        ctx = self.ctx
        told = None
        if error is not None:
            told = error_json(type_name(error), text_of(error), formatted(error))
        elif reason is not None:
            told = error_json("JobCancelled", reason, None)
        return Settlement(
            id=self.claimed.id, claim=self.claimed.claim, status=status, result=kept.reference, store=kept.store,
            error=told, age=time.monotonic() - self.started, last=ctx.attempt >= ctx.max_attempts, back=back,
            delay=delay, children=children, ctx=ctx, outcome=Outcome(
                job_id=ctx.job_id, job_name=ctx.job_name, queue=ctx.queue, attempt=ctx.attempt,
                status=status or "queued", kind=kind, delay=None if status else delay, error=error, reason=reason,
                result_store=kept.store_name, result_reference=kept.reference,
            ),
        )  # fmt: skip

    def _described(self) -> str:
        ctx = self.ctx
        return f"job {ctx.job_id} ({ctx.job_name}, attempt {ctx.attempt} of {ctx.max_attempts})"


class Undecodable(SerializationError):
    """Stored arguments that cannot be read: another attempt would not read them either."""


def described(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(text_of(error).split())
    return f"{type(error).__name__}: {text[:500]}" if text else type(error).__name__


def text_of(error: BaseException) -> str:
    """What an error says, also where it cannot say it."""
    try:
        return str(error)
    except Exception as failure:
        return f"(its text cannot be made: {type(failure).__name__})"


def type_name(error: BaseException) -> str:
    """The qualified name of an error's type."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def formatted(error: BaseException) -> str:
    """An error's traceback, from the first line that is not Soniq's own."""
    start: TracebackType | None = error.__traceback__
    while start is not None and start.tb_frame.f_code.co_filename.startswith(OWN_CODE):
        start = start.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, start or error.__traceback__))
    except Exception:
        text = "".join(traceback.format_tb(start or error.__traceback__))
    return text if len(text) <= LONGEST_TRACEBACK else f"...{text[-LONGEST_TRACEBACK:]}"


def _called(call: Callable[[], object]) -> tuple[object, BaseException | None]:
    """What a function returned or raised: a future takes neither StopIteration nor a traceback that begins here."""
    try:
        return call(), None
    except BaseException as error:
        return None, error


async def _enter(stack: AsyncExitStack, manager: Any) -> object:
    """Enter what a provider made; it sees how the attempt went, and cannot swallow an error."""
    asynchronous = hasattr(manager, "__aenter__")
    value: object = await manager.__aenter__() if asynchronous else manager.__enter__()

    async def exit_(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if asynchronous:
            await manager.__aexit__(kind, error, trace)
        else:
            manager.__exit__(kind, error, trace)

    stack.push_async_exit(exit_)
    return value


def _uncancel() -> None:
    """The task was cancelled to end the attempt, and now goes on to say so."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()
