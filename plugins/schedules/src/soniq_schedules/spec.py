"""A schedule as its row holds it."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from soniq import Job, Soniq

from .cron import Cron
from .every import Every
from .when import When

_decoder: msgspec.json.Decoder[Cron | Every] = msgspec.json.Decoder(Cron | Every)


class Spec(msgspec.Struct, frozen=True):
    """What a schedule is: which job, when, and its arguments as the job's serializer wrote them."""

    job: str
    when: When
    """Without arguments."""
    args: bytes
    serializer: str
    """The name of the one that wrote them."""
    digest: str
    """What changes where the job, when it is, the arguments or the serializer do; not where a
    serializer writes the same arguments otherwise, as one that encrypts does.
    """

    @property
    def text(self) -> str:
        """When it is, as JSON."""
        return text_of(self.when)


async def spec_of(
    app: Soniq,
    job: Job[..., Any] | str,
    when: When,
    arguments: Mapping[str, object],
    serializers: Mapping[str, str],
) -> Spec:
    """A schedule with these arguments. `serializers`: of jobs by name, where it is not the core's.
    Raises what `dump_arguments` raises.
    """
    args = await app.dump_arguments(job, arguments)
    name = job.name if isinstance(job, Job) else job
    when = msgspec.structs.replace(when, args=None)

    try:
        plain = msgspec.json.encode(arguments, order="deterministic")
    except Exception:  # of types that only the job's serializer knows
        plain = args
    serializer = serializers.get(name, "json")
    parts = (name.encode(), text_of(when).encode(), plain, serializer.encode())
    return Spec(name, when, args, serializer, hashlib.sha256(b"\0".join(parts)).hexdigest())


def text_of(when: When) -> str:
    """A `when` as JSON."""
    return msgspec.json.encode(when, order="deterministic").decode()


@lru_cache(maxsize=10_000)
def when_of(text: str) -> When:
    """When a schedule is, of its JSON. Raises `msgspec.ValidationError` for what is none here."""
    return _decoder.decode(text)
