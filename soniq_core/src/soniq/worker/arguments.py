"""The arguments of a claimed job, read from its row."""

from typing import Any

import msgspec

from soniq.errors import SerializationError, UnknownArguments
from soniq.hooks.values import Serializer, bound
from soniq.job.signature import Signature
from soniq.worker.record import AttemptRecord


class Undecodable(SerializationError):
    """Stored arguments that cannot be read: another attempt would not read them either."""


class _UnknownField(ValueError):
    """Stored arguments have a field that its type does not have here; the text says where."""


def decode(record: AttemptRecord) -> dict[str, object]:
    """The arguments by name. Raises `UnknownArguments`, `Undecodable` or `SerializationError`."""
    claimed, signature = record.claimed, record.job.signature
    serializer = record.services.serializers.get(claimed.serializer)
    if serializer is None:
        raise SerializationError(
            f"{claimed.name}: no plugin of this worker provides the serializer"
            f" {claimed.serializer!r}",
            job=claimed.name,
        )

    try:
        serializer = bound(serializer, claimed.name, claimed.id, "arguments")
        loaded = serializer.loads(claimed.args, signature.arguments)
        if signature.has_fields and (
            place := signature.unknown_field(serializer.loads(claimed.args, Any))
        ):
            raise _UnknownField(place)
        return msgspec.structs.asdict(loaded)
    except UnknownArguments as error:
        raise _unknown(claimed.name, [str(error)]) from None
    except _UnknownField as error:
        raise _unknown(claimed.name, [str(error)]) from None
    except Exception as error:
        if names := _unknown_names(serializer, claimed.args, signature):
            raise _unknown(claimed.name, names) from None
        raise Undecodable(
            f"{claimed.name}: the stored arguments cannot be read ({claimed.serializer}): {error}",
            job=claimed.name,
        ) from error


def _unknown_names(serializer: Serializer, data: bytes, signature: Signature) -> list[str]:
    """The names of stored arguments that the job does not take here: they may come from newer code,
    or older.
    """
    try:
        stored = serializer.loads(data, Any)
    except Exception:
        return []
    if not isinstance(stored, dict):
        return []
    return sorted(map(str, stored.keys() - signature.names))


def _unknown(job: str, names: list[str]) -> UnknownArguments:
    listed = ", ".join(map(repr, names))
    return UnknownArguments(f"{job} takes no argument {listed} here", job=job)
