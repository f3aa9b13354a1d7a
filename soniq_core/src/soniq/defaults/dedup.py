"""`unique=True`: a job is unique by its name and arguments."""

import hashlib

import msgspec

from soniq.defaults.json import to_json
from soniq.errors import SerializationError
from soniq.hooks.markers import hookimpl
from soniq.hooks.values import NewJob


class DedupPlugin:
    """The key is a hash of the bound arguments, defaults included, in canonical JSON, whatever the serializer."""

    name = "dedup"

    @hookimpl
    def dedup_key(self, job: NewJob) -> str | None:
        if not job.unique:
            return None
        try:
            canonical = msgspec.json.encode(job.args, enc_hook=to_json, order="deterministic")
        except (TypeError, ValueError) as error:
            raise SerializationError(
                f"{job.name}: unique=True needs arguments that JSON can hold ({error}); give the enqueue a dedup_key=",
                job=job.name,
            ) from error
        return hashlib.sha256(canonical).hexdigest()
