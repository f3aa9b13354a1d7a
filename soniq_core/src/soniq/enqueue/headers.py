"""The headers of a job as JSON, and what they may hold."""

import msgspec

from soniq.errors import InvalidOption
from soniq.faithful import difference
from soniq.job.new import NewJob
from soniq.text import NUL

LONGEST = 65_536
"""Bytes that the headers of a job may take: each claim brings them."""


def encoded(job: NewJob) -> str | None:
    """The headers as JSON, None where there are none.

    Raises `InvalidOption` for what JSON, or PostgreSQL's form of it, cannot hold.
    """
    if not job.headers:
        return None
    try:
        text = msgspec.json.encode(job.headers, enc_hook=_plain).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _refused(job, f"headers= holds a value that JSON cannot hold: {error}") from error

    if any(type(value) is not str for value in job.headers.values()) and (
        found := difference(job.headers, msgspec.json.decode(text))
    ):
        place = found.place.lstrip(".")
        raise _refused(job, f"headers= takes JSON values by name; {place!r:.200}: {found.words}")

    if (size := len(text.encode())) > LONGEST:
        raise _refused(
            job,
            f"headers= take {size:,} bytes; the limit is {LONGEST:,}."
            " Pass what is larger as an argument",
        )
    if "\\u0000" in text and NUL.search(text):
        raise _refused(job, "headers= cannot hold the character NUL")
    return text


def _refused(job: NewJob, problem: str) -> InvalidOption:
    return InvalidOption(f"{job.name}: {problem}", option="headers")


def _plain(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__}")
