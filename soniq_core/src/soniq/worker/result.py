"""The result of an attempt, stored as its job declares it."""

import inspect
import logging
from typing import Any

from soniq.errors import PayloadTooLarge, SerializationError
from soniq.faithful import PLAIN, difference
from soniq.hooks.values import Serializer, bound
from soniq.job.signature import Signature, got_type
from soniq.postgres.results import NO_RESULT, StoredResult, is_stream
from soniq.worker.record import AttemptRecord

log = logging.getLogger("soniq.worker")


async def store_result(record: AttemptRecord, value: object) -> StoredResult:
    """Store what the handler returned; where it is. What cannot be stored is left out, where the
    job does not declare a result.

    Where it does, the error ends the job: the handler has done its work, and is not to do it again
    for that. Raises `SerializationError`, `PayloadTooLarge`, or what a store raises.
    """
    returns = record.job.signature.returns
    if value is None and (returns is Any or returns is type(None)):
        return NO_RESULT

    stream = returns is Any and is_stream(value)
    try:
        if stream:
            return await record.services.results.put_stream(record.ctx, value)
        return await record.services.results.put(record.ctx, _encoded(record, value))
    except (SerializationError, PayloadTooLarge) as error:
        if isinstance(error, PayloadTooLarge) and error.what != "result":
            raise  # of a child, in a stream of the handler's
        if returns is not Any or stream or inspect.isawaitable(value):
            record.final = True
            raise
        _tell_left_out(record, error)
        return NO_RESULT


def _tell_left_out(record: AttemptRecord, error: Exception) -> None:
    """Log that a job is done without its result, once for each job."""
    if record.job.name in record.state.without_result:
        return
    record.state.without_result.add(record.job.name)
    log.warning(
        "%s is done without its result (logged once for each job name): %s",
        record.in_words(),
        error,
        extra=record.log_fields(),
    )


def _encoded(record: AttemptRecord, value: object) -> bytes:
    """The result in bytes, checked as `get_result` will read it. Raises `SerializationError`."""
    job, returns, kind = record.job, record.job.signature.returns, type(value)
    if kind not in PLAIN and inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise SerializationError(
            f"{job.name} returned what nobody has awaited ({type(value).__name__}): return"
            " await ...",
            job=job.name,
        )

    serializer = record.services.serializers[record.claimed.serializer]
    try:
        serializer = bound(serializer, job.name, record.claimed.id, "result")
        data = serializer.dumps(value)
        if kind not in PLAIN or (returns is not kind and returns is not Any):
            _check(serializer, job.signature, data, value)
    except Exception as error:
        raise SerializationError(
            f"{job.name}: the result cannot be stored as {returns}: {error}"
            f"{got_type(error, value)}",
            job=job.name,
        ) from error
    return data


def _check(serializer: Serializer, signature: Signature, data: bytes, value: object) -> None:
    """Raise ValueError where `get_result` would not read what the handler returned."""
    returns = signature.returns
    if found := difference(value, serializer.loads(data, returns), loose=returns is Any):
        raise ValueError(
            f"{found.place.lstrip('.')}: {found.words}" if found.place else found.words
        )

    find = signature.find_in_result if signature.result_has_sets else None
    if find is not None and (place := find(serializer.loads(data, Any))):
        raise ValueError(f"{place.lstrip('.')}: there is no such field in its type")
