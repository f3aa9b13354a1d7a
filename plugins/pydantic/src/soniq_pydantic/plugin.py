"""The plugin: arguments and results with models are stored as Pydantic writes them."""

import hashlib
import sys
from contextlib import suppress
from typing import Any

import msgspec

from soniq import InvalidOption, SerializationError, SoniqError, Unique, hookimpl
from soniq.plugin import Dedup, JobDefinition, NewJob, Serializer

from .packages import PYDANTICS
from .serializer import NAME, PydanticSerializer


class PydanticPlugin:
    """Lets jobs take and return Pydantic models, wherever they are in the types."""

    name = "pydantic"

    def __init__(self) -> None:
        self._serializer = PydanticSerializer()

    @hookimpl
    def serializers(self) -> list[Serializer]:
        return [self._serializer]

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        """Give a job with a model in its types, and no serializer, that of Pydantic."""
        # Where it was not imported, no type is of Pydantic's, or of what its types are marked with
        if job.serializer is not None or not any(map(sys.modules.get, PYDANTICS)):
            return
        from .mentions import mentions_pydantic

        if any(map(mentions_pydantic, job.hints.values())):
            job.serializer = NAME

    @hookimpl
    def dedup_key(self, job: NewJob) -> Dedup | None:
        """`unique=`, as the core's own: a hash of the arguments in canonical JSON."""
        if job.serializer != NAME or not job.unique:
            return None
        unique = job.unique if isinstance(job.unique, Unique) else Unique()
        if problem := unique.unknown(job.args):
            raise InvalidOption(f"{job.name}: {problem}", option="unique")

        chosen = job.args if unique.by is None else unique.by
        try:
            values = {name: self._plain(job, name) for name in chosen}
            canonical = msgspec.json.encode(values, order="deterministic")
        except (TypeError, ValueError) as error:
            raise SerializationError(
                f"{job.name}: unique=True needs arguments that JSON can hold ({error})",
                job=job.name,
            ) from error
        return Dedup(hashlib.sha256(canonical).hexdigest(), unique.scope, unique.on_conflict)

    def _plain(self, job: NewJob, name: str) -> object:
        """An argument as JSON has it once it is of its type: a value and its text are the same."""
        data = self._serializer.dumps(job.args[name])
        with suppress(ValueError, SoniqError):  # which the enqueue refuses
            data = self._serializer.dumps(self._serializer.loads(data, job.types.get(name, Any)))
        return msgspec.json.decode(data)
