"""One attempt at one job: decode, provide, before_job, handler, encode, store, commit, after_job or
on_error.

`Attempt.run` reads as the table of contents; what ends an attempt early (`end`) is a cause plus a
cancelled task.
"""

import asyncio
import contextlib
import contextvars
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import CoroutineType
from typing import Any

import msgspec

from soniq.errors import AttemptTimeout, CompletionError, DatabaseError, LeaseLost
from soniq.hooks.dispatch import Exit, leave, resolved, unless_it_hangs
from soniq.job.context import JobContext
from soniq.postgres.away import has_ended, is_away
from soniq.postgres.gaps import fill_gaps, is_gap
from soniq.postgres.notify import payload
from soniq.postgres.results import is_stream
from soniq.signals import alone, signal_of
from soniq.tracebacks import without_traceback
from soniq.transaction import TransactionConnection, is_asyncpg
from soniq.worker.arguments import decode
from soniq.worker.judging import EndedBefore, judge, stopped, uncancel
from soniq.worker.record import AttemptRecord, Cause
from soniq.worker.result import store_result
from soniq.worker.settling.settlement import Finish, Settlement
from soniq.worker.settling.statement import settle

AWAY_FOR = 86_400.0
"""Seconds for which a job is put off, uncharged, whose attempts cannot begin because a database is
away.
"""
CUT_OFF_FOR = 120.0
"""Seconds, likewise, where attempts lose the connection that was to complete them; fewer, as the
job itself may be the cause.
"""
NAMED_AT_MOST = 5
"""How many attempts are named in one line."""


class Attempt(AttemptRecord):
    """One attempt at a claimed job, in a task of its own."""

    __slots__ = ()

    # --- ended from outside ----------------------------------------------------------------------

    def expire(self) -> None:
        """Its deadline is past."""
        self.end("timeout")

    def end(self, cause: Cause) -> None:
        """End the attempt from outside. A thread is not ended; what it leads to is decided when it
        returns.
        """
        if self.cause is None and not self.decided:
            self.cause = cause
            self.ctx.cancelled = cause != "stopped"
            if self.task is not None and self.begun and not self.thread:
                self.task.cancel()

    def take_away(self) -> bool:
        """End the attempt before it begins, from another thread; False where it has begun.

        Its task sets `begun` before it looks for a cause, so that one of the two sees what the
        other has set.
        """
        if self.cause is not None:
            return False
        self.cause = "lost"
        if self.begun:
            self.cause = None
        return self.cause is not None

    async def give_up(self) -> Settlement:
        """The worker stops, and the attempt cannot be ended: what is settled while it still
        runs.
        """
        self.decided = True
        return await stopped(self)

    # --- the attempt itself ----------------------------------------------------------------------

    async def run(self) -> Settlement | None:
        """Run it; what is to be settled, or None where the job is no longer this worker's."""
        entered: list[tuple[str, Exit]] = []
        error: BaseException | None = None
        settlement: Settlement | None = None

        try:
            if self.cause is not None:
                raise EndedBefore
            if self.job.around_job is not None:
                await self.job.around_job.enter(entered, self.ctx)
            if self.timeout is not None:
                self.state.deadlines.add(self, self.timeout)
            settlement = await self._perform()
        except BaseException as raised:
            error = alone(raised)
            settlement = await judge(self, error)
        finally:  # also where it cannot be judged
            outcome = self.ctx.outcome = settlement.outcome if settlement else None
            if entered and self.job.around_job is not None:
                told = (outcome and outcome.error) or error
                await self.job.around_job.leave(entered, told, self.ctx)
            if error is not None:
                without_traceback(error)
                if outcome is not None and outcome.error is not None:
                    without_traceback(outcome.error)

        return settlement

    async def _perform(self) -> Finish:
        arguments = decode(self)
        provided = self.job.signature.provided
        self.ctx.args = dict(arguments) if provided else arguments
        try:
            settlement, value = await (
                self._provided(list(provided.items()), arguments)
                if provided
                else self._work(arguments)
            )
        except Exception as error:
            if self.ctx.completing is not None and is_away(error):
                self.put_off = CUT_OFF_FOR
            raise

        self.decided = True
        if self.job.after_job is not None:
            await self.job.after_job(self.ctx, value)
        return settlement

    async def _provided(
        self, left: Sequence[tuple[str, Callable[[JobContext], Any]]], arguments: dict[str, object]
    ) -> tuple[Finish, object]:
        """Work with what providers give, one inside the other; each sees how it went, and cannot
        swallow an error.
        """
        if not left:
            return await self._work(arguments)

        name, factory = left[0]
        try:
            arguments[name], leaving = await _entered(name, factory(self.ctx))
        except Exception as error:
            self.put_off = AWAY_FOR if is_away(error) or isinstance(error, TimeoutError) else 0.0
            raise

        try:
            worked = await self._provided(left[1:], arguments)
        except BaseException as error:
            if has_ended(self.ctx.completing):
                self.put_off = CUT_OFF_FOR  # whatever the handler made of it
            await _left(name, leaving, error)
            raise
        try:
            await _left(name, leaving, None)
        except Exception:
            if not (worked[0].written and await self._is_completed()):
                raise
        return worked

    async def _work(self, arguments: Mapping[str, object]) -> tuple[Finish, object]:
        """before_job, the handler, its result stored, and the completion written where a provider
        has a transaction.
        """
        ctx = self.ctx
        if self.job.before_job is not None:
            signal = await self.job.before_job(ctx)
            if signal is not None:
                raise signal

        value = await self._call(arguments)
        result = await store_result(self, value)
        settlement = self.finish("done", "done", result=result, children=ctx._children or ())
        if ctx.completing is not None:
            await self._complete(ctx.completing, settlement)
            settlement = msgspec.structs.replace(settlement, written=True)
            self.decided = True  # a commit is not to be interrupted
            ctx._children = None
        return settlement, value

    async def _call(self, arguments: Mapping[str, object]) -> object:
        """Call the handler, and obey what it returns, or what ended it meanwhile."""
        if self.job.threaded:
            value = await resolved(await self._in_thread(arguments))
        else:
            forks = _forks[0]
            try:
                value = self.job.function(**arguments)
                if type(value) is CoroutineType or not is_stream(value):
                    value = await value
            finally:
                if _forks[0] != forks:
                    os._exit(1)  # see `_count_fork`

        if self.cause is not None:  # it was asked to end, and returned all the same
            uncancel()
            if self.cause == "timeout":
                raise AttemptTimeout(self.timeout or 0.0)
            if self.cause == "lost":
                raise LeaseLost(
                    f"job {self.ctx.job_id} was taken from this worker; its result is not kept"
                )
        signal = signal_of(value)
        if signal is not None:
            raise signal
        return value

    async def _in_thread(self, arguments: Mapping[str, object]) -> object:
        """Call a `def` in a thread, with the context variables of this attempt."""
        self.thread = True
        try:
            call = partial(contextvars.copy_context().run, partial(self.job.function, **arguments))
            loop = asyncio.get_running_loop()
            value, error = await loop.run_in_executor(self.state.threads, _called, call)
        finally:
            self.thread = False
        if error is not None:
            raise error
        return value

    async def _is_completed(self) -> bool:
        """Whether the transaction with the completion was committed all the same, and only the
        answer was lost. False also where the database cannot be asked.
        """
        with contextlib.suppress(DatabaseError):
            rows = await self.services.database.fetch("job", self.claimed.id)
            ours = str(self.ctx.worker_id), self.ctx.attempt, "done"
            return any(ours == (str(r["worker_id"]), r["attempt"], r["status"]) for r in rows)
        return False

    async def _complete(self, connection: TransactionConnection, settlement: Finish) -> None:
        """Write the completion in the open transaction of an injected connection."""
        if is_asyncpg(connection) and not connection.is_in_transaction():
            raise CompletionError(
                f"{self.claimed.name} ended the transaction that was to complete it; nothing is"
                " completed"
            )
        database = self.services.database
        try:
            header = await settle(connection, database, self.ctx.worker_id, [settlement])
        except Exception as error:
            if is_gap(error, database.settings.schema):
                self.put_off = CUT_OFF_FOR  # the transaction is lost, and not by what it did
                await fill_gaps(database)
            raise

        if header.settled != 1:
            raise LeaseLost(
                f"job {self.ctx.job_id} was taken from this worker; its transaction was rolled back"
            )

        if settlement.children:
            await self.services.insert(settlement.children, connection)
        if settlement.outcome is not None:
            freed = await self.services.settle_tx(connection, [(settlement.outcome, ())])
            if freed.lines:  # told with the commit, which is the provider's
                sql, channel = database.sql["notify"], database.settings.schema
                await connection.fetch(sql, channel, payload(freed.lines))


async def _entered(name: str, manager: Any) -> tuple[object, Exit | None]:
    """What a provider gives for a parameter, and how it is left."""
    if type(manager) is contextlib.nullcontext:  # most are, and cannot hang
        return manager.enter_result, None
    if hasattr(manager, "__aenter__"):
        leaving = manager.__aexit__
        entering = f"the provider of {name!r} is entered"
        return await unless_it_hangs(manager.__aenter__(), entering), leaving
    leaving = manager.__exit__
    return manager.__enter__(), leaving


async def _left(name: str, leaving: Exit | None, error: BaseException | None) -> None:
    """Leave a provider, which may hang."""
    if leaving is not None:
        await unless_it_hangs(leave(leaving, error), f"the provider of {name!r} is left")


def named(attempts: Collection[AttemptRecord]) -> str:
    """Some attempts in words, and how many more there are."""
    names = sorted(f"job {each.claimed.id} ({each.claimed.name})" for each in attempts)
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _called(call: Callable[[], object]) -> tuple[object, BaseException | None]:
    """What a function returned or raised: a future takes neither StopIteration nor a traceback that
    begins here.
    """
    forks = _forks[0]
    try:
        return call(), None
    except BaseException as error:
        return None, error
    finally:
        if _forks[0] != forks:
            os._exit(1)  # see `_count_fork`


_forks = [0]
"""How often this process, or one that it comes from, was forked."""


def _count_fork() -> None:
    """A handler that forks may return in the child, too, which ends then: the job, the event loop
    and the connections are its parent's.
    """
    _forks[0] += 1


os.register_at_fork(after_in_child=_count_fork)
