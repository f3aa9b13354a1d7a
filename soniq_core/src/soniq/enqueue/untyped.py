"""Arguments of a job that the app does not know: there are no types to read them as."""

from typing import Any

from soniq.errors import InvalidArguments
from soniq.faithful import difference
from soniq.hooks.values import Serializer
from soniq.job.new import NewJob


def check_untyped(serializer: Serializer, job: NewJob, payload: bytes) -> None:
    """Refuse an argument that another app would read as nothing, such as NaN, which JSON does not
    have. Raises `InvalidArguments`.
    """
    found = difference(job.args, serializer.loads(payload, Any), loose=True)
    if found is not None:
        raise InvalidArguments(
            f"{job.name}: the argument {found.place.lstrip('.')!r:.200}: {found.words}",
            job=job.name,
        )
