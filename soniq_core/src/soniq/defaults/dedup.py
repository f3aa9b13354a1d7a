"""`unique=`: a job is unique by its name and its arguments, or some of them."""

import hashlib
from typing import Any

import msgspec

from soniq.defaults.json import JsonSerializer, to_json
from soniq.errors import InvalidOption, SerializationError
from soniq.faithful import difference
from soniq.hooks.markers import hookimpl
from soniq.job.new import NewJob
from soniq.unique import Dedup, Unique, dedup_of


class DedupPlugin:
    """The key is a hash of the bound arguments, defaults included, in canonical JSON, whatever the
    serializer.

    They are hashed as the handler gets them: a value and its text, or two ways to write one time,
    are the same.
    """

    name = "dedup"

    def __init__(self) -> None:
        self._json = JsonSerializer()

    @hookimpl
    def dedup_key(self, job: NewJob) -> Dedup | None:
        if not job.unique:
            return None
        chosen = _chosen(job)
        try:
            canonical = _encode({name: self._declared(job, name) for name in chosen})
        except (TypeError, ValueError) as error:
            raise SerializationError(
                f"{job.name}: unique=True needs arguments that JSON can hold ({error}); name others"
                " in Unique(by=...), or give the enqueue a dedup_key=",
                job=job.name,
            ) from error
        return dedup_of(job.unique, hashlib.sha256(canonical).hexdigest())

    def _declared(self, job: NewJob, name: str) -> object:
        """An argument as a value of its declared type; as it is where that would be another.

        Raises ValueError for what JSON has no form of: it would be the same as None.
        """
        value = job.args[name]
        data = _encode(value)
        try:
            declared = self._json.loads(data, job.types.get(name, Any))
            if difference(value, declared) is None:
                return declared
        except (msgspec.MsgspecError, TypeError, ValueError):
            pass
        if lost := difference(value, self._json.loads(data, Any), loose=True):
            raise ValueError(f"the argument {name + lost.place!r:.200}: {lost.words}")
        return value


def _chosen(job: NewJob) -> list[str]:
    """The names of the arguments that count. Raises `InvalidOption` for one that the job does not
    have.
    """
    if not isinstance(job.unique, Unique) or job.unique.by is None:
        return list(job.args)
    unknown = job.unique.unknown(job.args)
    if unknown is not None:
        raise InvalidOption(f"{job.name}: {unknown}", option="unique")
    return list(job.unique.by)


def _encode(value: object) -> bytes:
    return msgspec.json.encode(value, enc_hook=to_json, order="deterministic")
