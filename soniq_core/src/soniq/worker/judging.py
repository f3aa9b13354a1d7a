"""What an attempt comes to that did not succeed: which error leads to which outcome."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from soniq.backoff import DEFAULT
from soniq.errors import (
    AttemptTimeout,
    LeaseLost,
    RetriesExhausted,
    UnknownArguments,
    WorkerStopped,
)
from soniq.failure import failure_json, in_one_line
from soniq.signals import Cancel, Retry, Signal, Snooze
from soniq.text import one_line
from soniq.tracebacks import TRACEBACK, without_traceback
from soniq.worker.admission import requeued
from soniq.worker.arguments import Undecodable
from soniq.worker.record import AttemptRecord
from soniq.worker.retrying import next_try
from soniq.worker.settling.settlement import (
    UNKNOWN_FOR,
    Finish,
    Requeue,
    RequeueKind,
    Settlement,
)

log = logging.getLogger("soniq.worker")


class EndedBefore(asyncio.CancelledError):
    """The attempt was ended before it began."""


async def judge(record: AttemptRecord, error: BaseException) -> Settlement | None:
    """What is settled; None where the job is no longer this worker's. Calls `on_error` where the
    attempt failed.
    """
    record.decided = True
    record.ctx._children = None
    if (
        isinstance(error, asyncio.CancelledError)
        and not isinstance(error, EndedBefore)
        and record.cause is None
        and record.state.cancelled
    ):
        record.cause = "stopped"  # with the worker, and all other tasks
    if record.cause is not None and not isinstance(error, LeaseLost):
        uncancel()
        error = _timed_out(record, error)

    verdict = next(verdict for applies, verdict in VERDICTS if applies(record, error))
    return await verdict(record, error)


def _timed_out(record: AttemptRecord, error: BaseException) -> BaseException:
    """A timeout is what it is, whatever the handler made of it."""
    if record.cause != "timeout" or isinstance(error, AttemptTimeout):
        return error
    timeout = AttemptTimeout(record.timeout or 0.0).with_traceback(TRACEBACK(error))
    timeout.__cause__ = None if isinstance(error, asyncio.CancelledError) else error
    return timeout


# --- which verdict applies -----------------------------------------------------------------------


def _never_began(record: AttemptRecord, error: BaseException) -> bool:
    return isinstance(error, EndedBefore) and record.cause is None


def _has_lost_its_lease(record: AttemptRecord, error: BaseException) -> bool:
    return isinstance(error, LeaseLost)


def _was_taken_away(record: AttemptRecord, error: BaseException) -> bool:
    return record.cause == "lost"


def _was_cancelled(record: AttemptRecord, error: BaseException) -> bool:
    return record.cause == "cancelled"


def _was_stopped(record: AttemptRecord, error: BaseException) -> bool:
    return record.cause == "stopped" and not isinstance(error, Signal)


def _raised_a_signal(record: AttemptRecord, error: BaseException) -> bool:
    return isinstance(error, Signal)


def _needs_other_code(record: AttemptRecord, error: BaseException) -> bool:
    deferred_for = record.claimed.deferred_for or 0.0
    return isinstance(error, UnknownArguments) and deferred_for <= UNKNOWN_FOR


def _lost_its_database(record: AttemptRecord, error: BaseException) -> bool:
    deferred_for = record.claimed.deferred_for or 0.0
    return bool(record.put_off) and record.cause != "timeout" and deferred_for <= record.put_off


def _failed(record: AttemptRecord, error: BaseException) -> bool:
    return True


# --- the verdicts --------------------------------------------------------------------------------


async def _not_started(record: AttemptRecord, error: BaseException) -> Settlement:
    return requeued(record.claimed, RequeueKind.NOT_STARTED)


async def _log_lost(record: AttemptRecord, error: BaseException) -> None:
    log.warning("%s", error, extra=record.log_fields())


async def _nothing(record: AttemptRecord, error: BaseException) -> None:
    """The job has been requeued, and another worker settles it."""


async def _cancelled_while_it_ran(record: AttemptRecord, error: BaseException) -> Settlement:
    own = error.reason if isinstance(error, Cancel) else None
    return _cancelled(record, own or "cancelled while it ran")


async def stopped(record: AttemptRecord, _: BaseException | None = None) -> Settlement:
    """The worker stops: the job is requeued, and told to `on_error`."""
    error = WorkerStopped("the worker stopped before the attempt had ended; the job runs again")
    if record.job.on_error:
        await record.job.on_error(record.ctx, error)
    log.warning(
        "%s had not ended when the worker stopped; requeued",
        record.in_words(),
        extra=record.log_fields("stopped"),
    )
    return record.requeue(RequeueKind.STOPPED, "stopped", error=error)


async def _obey_raised(record: AttemptRecord, error: BaseException) -> Settlement | None:
    assert isinstance(error, Signal)
    return await _obey(record, error)


async def _wait_for_other_code(record: AttemptRecord, error: BaseException) -> Settlement:
    return _deferred(record, error, "waits for a worker with other code")


async def _put_off(record: AttemptRecord, error: BaseException) -> Settlement:
    return _deferred(record, error, "lost its database, and is put off")


async def _fail(record: AttemptRecord, error: BaseException) -> Settlement | None:
    """`on_error` hears of it, and may say what is done; else it is retried while it may be."""
    record.final = record.final or isinstance(error, Undecodable | UnknownArguments)
    signal = await record.job.on_error(record.ctx, error) if record.job.on_error else None
    if signal is not None:
        return await _obey(record, signal, error)
    if record.is_last or record.final:
        return _dead(record, error)
    return _again(record, error, await next_try(record, error))


Applies = Callable[[AttemptRecord, BaseException], bool]
Verdict = Callable[[AttemptRecord, BaseException], Awaitable[Settlement | None]]

VERDICTS: tuple[tuple[Applies, Verdict], ...] = (
    (_never_began, _not_started),
    (_has_lost_its_lease, _log_lost),
    (_was_taken_away, _nothing),
    (_was_cancelled, _cancelled_while_it_ran),
    (_was_stopped, stopped),
    (_raised_a_signal, _obey_raised),
    (_needs_other_code, _wait_for_other_code),
    (_lost_its_database, _put_off),
    (_failed, _fail),
)
"""The first that applies counts."""


# --- signals -------------------------------------------------------------------------------------


async def _obey(
    record: AttemptRecord, signal: Signal, error: BaseException | None = None
) -> Settlement | None:
    """Do as a signal says; `error` is the failure that `on_error` answered with it."""
    if isinstance(signal, Snooze):
        return _snoozed(record, signal)
    if isinstance(signal, Cancel):
        return _cancelled(record, signal.reason)
    if not record.is_last:
        if isinstance(signal, Retry) and signal.delay is not None:
            return _again(record, error, signal)
        return _again(record, error, await next_try(record, error or signal))

    if error is not None:
        return _dead(record, error)
    exhausted = RetriesExhausted(record.ctx.attempt)
    exhausted.__cause__ = signal
    return await _fail(record, exhausted)


def _snoozed(record: AttemptRecord, snooze: Snooze) -> Requeue:
    if snooze.reason:
        log.info(
            "%s was snoozed for %g s: %s",
            record.in_words(),
            snooze.delay,
            one_line(snooze.reason),
            extra=record.log_fields("snooze"),
        )
    return record.requeue(RequeueKind.SNOOZED, "snooze", delay=snooze.delay)


# --- what becomes of the job ---------------------------------------------------------------------


def _again(
    record: AttemptRecord, error: BaseException | None, verdict: Retry | Cancel
) -> Settlement:
    if isinstance(verdict, Cancel):
        return _cancelled(record, verdict.reason)
    delay = verdict.delay or 0.0
    log.warning(
        "%s failed, and is retried in %.1f s: %s",
        record.in_words(),
        delay,
        in_one_line(error) if error else "the handler asked for a retry",
        extra=record.log_fields("retry"),
    )
    return record.requeue(RequeueKind.FAILED, "retry", delay=delay, error=error)


def _dead(record: AttemptRecord, error: BaseException) -> Finish:
    log.error(
        "%s failed; it is dead: %s",
        record.in_words(),
        in_one_line(error),
        extra=record.log_fields("dead"),
    )
    return record.finish("dead", "dead", error=error)


def _cancelled(record: AttemptRecord, reason: str | None) -> Finish:
    log.info(
        "%s was cancelled%s",
        record.in_words(),
        f": {one_line(reason)}" if reason else "",
        extra=record.log_fields("cancel"),
    )
    return record.finish("cancelled", "cancel", reason=reason)


def _deferred(record: AttemptRecord, error: BaseException, why: str) -> Requeue:
    """Requeue the job without a charge, ever later (the SQL function says how much later); until
    when, is the caller's to say.
    """
    log.warning("%s %s: %s", record.in_words(), why, in_one_line(error), extra=record.log_fields())
    return Requeue(
        id=record.claimed.id,
        claim=record.claimed.claim,
        ref=record.claimed.ref,
        kind=RequeueKind.DEFERRED,
        error=failure_json(error, traceback=False),
        age=0.0,
    )


def unjudged(record: AttemptRecord, error: BaseException) -> Settlement:
    """What is settled where judging the attempt failed: it counts, and ends the job if it was the
    last.
    """
    settlement: Settlement
    if record.is_last:
        settlement = record.finish("dead", "dead", error=error)
    else:
        delay = DEFAULT.delay(record.ctx.attempt)
        settlement = record.requeue(RequeueKind.FAILED, "retry", delay=delay, error=error)

    without_traceback(error)
    return msgspec.structs.replace(settlement, error=failure_json(error, traceback=False))


def uncancel() -> None:
    """The task was cancelled to end the attempt, and now goes on to say so."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()
