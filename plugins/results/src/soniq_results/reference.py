"""What the job's row keeps of a result that is elsewhere."""

import json
from typing import NamedTuple, Self

from .errors import ResultsError

VERSION = 1

PART = 8 * 1_048_576
"""Bytes of each object of a result, except for the last one. It belongs to the version."""


class Reference(NamedTuple):
    """A stored result: `key` is schema/date/job/upload; `key/0`, `key/1` ... are its objects."""

    key: str
    size: int
    sha256: str

    @property
    def job_id(self) -> str:
        """The job whose result it is."""
        return self.key.split("/")[-2]

    @property
    def objects(self) -> list[str]:
        """The names of its objects, in order."""
        return object_names(self.key, max(1, -(-self.size // PART)))

    def encode(self) -> bytes:
        """The reference as JSON."""
        fields = {"v": VERSION, "key": self.key, "size": self.size, "sha256": self.sha256}
        return json.dumps(fields).encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The reference in a row. Raises `ResultsError` for one that this version does not know."""
        try:
            fields = json.loads(data)
            if fields.pop("v") == VERSION:
                return cls(**fields)
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        problem = f"a reference to a result cannot be read: {data[:200]!r}"
        raise ResultsError(f"{problem}. Is soniq-results too old here?")


def object_name(key: str, number: int) -> str:
    """The name of an object of an upload, counted from 0."""
    return f"{key}/{number}"


def object_names(key: str, count: int) -> list[str]:
    """The names of the first `count` objects of an upload."""
    return [object_name(key, number) for number in range(count)]
