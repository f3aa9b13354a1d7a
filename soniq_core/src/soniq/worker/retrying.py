"""When a failed attempt is tried again: the job's own policy, else the hook, nearest first, else
the default.
"""

import inspect
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from soniq.backoff import DEFAULT, Backoff
from soniq.hooks.dispatch import cancels_task, within_limit
from soniq.signals import Cancel, Retry, signal_of
from soniq.tracebacks import shown
from soniq.worker.record import AttemptRecord

log = logging.getLogger("soniq.worker")


async def next_try(record: AttemptRecord, error: BaseException) -> Retry | Cancel:
    """A retry with its delay, or that there is to be none."""
    retry = _fixed(record)
    if retry is not None:
        return retry
    for whose, call in _asked(record):
        answer = await _answer(record, error, whose, call)
        if answer is not None:
            return answer
    return Retry(DEFAULT.delay(record.ctx.attempt))


def _fixed(record: AttemptRecord) -> Retry | None:
    """What `retry=` of the job says, where that is a backoff, a number, or a list of them."""
    policy, attempt = record.job.options.retry, record.ctx.attempt
    if isinstance(policy, Backoff):
        return Retry(policy.delay(attempt))
    if isinstance(policy, Sequence):
        return Retry(policy[min(attempt, len(policy)) - 1])
    if isinstance(policy, int | float | timedelta):
        return Retry(policy)
    return None


def _asked(record: AttemptRecord) -> Iterable[tuple[str, Callable[..., Any]]]:
    """Who is asked: the job's own function, then the plugins."""
    own, hooks = record.job.options.retry, record.job.retry_delay.calls
    return (("retry=", own), *hooks) if callable(own) else hooks


async def _answer(
    record: AttemptRecord, error: BaseException, whose: str, call: Callable[..., Any]
) -> Retry | Cancel | None:
    """What one of them answers; None where it leaves it to the next, or fails."""
    try:
        answer: Any = call(record.ctx, error)
        if inspect.isawaitable(answer):
            answer = await within_limit(answer, record.services.settings.hook_timeout)

        answer = signal_of(answer) or answer
        if isinstance(answer, Cancel) or answer is None:
            return answer
        if isinstance(answer, Retry):
            return answer if answer.delay is not None else None
        return Retry(answer)
    except BaseException as failure:
        if cancels_task(failure):
            raise
        log.error(
            "retry_delay of %s failed for %s: %s",
            whose,
            record.ctx.job_name,
            shown(failure),
            exc_info=failure,
            extra=record.log_fields(),
        )
        return None
