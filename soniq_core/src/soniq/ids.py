"""Job ids: UUIDs of version 7 (RFC 9562), made by the client, in the order in which a process makes
them.
"""

import os
import random
import time
import uuid
from collections.abc import Iterable
from typing import Self

from soniq.errors import InvalidJobId, InvalidOption
from soniq.text import shown


class JobId(str):
    """A job's id: a `str` that holds a UUID, and knows what its enqueue did.

    `inserted` is False where a job with the same dedup key existed: this is then the id of that
    job. `replaced` says whether that job was given the new arguments or time, which a `Dedup` may
    ask for.
    """

    inserted: bool = True
    replaced: bool = False

    @property
    def uuid(self) -> uuid.UUID:
        """The id as a UUID, for drivers that take no subclass of `str` for one, as asyncpg does
        not.
        """
        return uuid.UUID(self)

    def __new__(cls, value: object, *, inserted: bool = True, replaced: bool = False) -> Self:
        self = super().__new__(cls, value)
        if replaced or not inserted:  # few do: the others need no attributes of their own
            self.inserted = inserted
            self.replaced = replaced
        return self


def parse_id(value: object) -> str:
    """An id in any of its forms, as PostgreSQL writes it. Raises `InvalidJobId`."""
    try:
        return str(uuid.UUID(value) if isinstance(value, str) else uuid.UUID(int=value.int))  # type: ignore[attr-defined]
    except (ValueError, AttributeError):
        raise InvalidJobId(value) from None


def parse_ids(values: object) -> list[str]:
    """Some ids, as `parse_id` gives them. Raises `InvalidJobId`, or `InvalidOption` for one id in
    place of a list.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidOption(
            f"job_ids= takes the ids of jobs in a list; got {shown(values)}", option="job_ids"
        )
    return [parse_id(each) for each in values]


class IdFactory:
    """Makes UUIDv7s, as text, that rise within the process, also within one millisecond and after a
    clock set back.

    48 bits of Unix milliseconds, then 12 + 14 bits of counter (RFC 9562, section 6.2, method 1),
    then 48 random bits.
    """

    def __init__(self) -> None:
        self._random = random.Random()  # seeded by the system; an id is unique, not secret
        self._last = 0  # milliseconds << 26 | counter
        self._begins = (0, "")  # the upper bits of the latest, and how its text begins
        os.register_at_fork(after_in_child=self._random.seed)

    def __call__(self) -> str:
        bits = self._random.getrandbits(72)
        now = time.time_ns() // 1_000_000 << 26
        self._last = last = max(now | bits >> 48 & 0x3FFFFF, self._last + 1)

        upper, begin = self._begins
        if last >> 14 != upper:
            upper, millisecond = last >> 14, last >> 26
            begin = f"{millisecond >> 16:08x}-{millisecond & 0xFFFF:04x}-7{upper & 0xFFF:03x}"
            self._begins = (upper, begin)
        return f"{begin}-{0x8000 | last & 0x3FFF:04x}-{bits & 0xFFFFFFFFFFFF:012x}"
