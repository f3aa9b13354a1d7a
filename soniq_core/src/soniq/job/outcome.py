"""What became of an attempt."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, cast

import msgspec

from soniq.errors import InvalidOption, StoredError
from soniq.failure import type_name
from soniq.text import cut, storable
from soniq.tracebacks import text_of

OutcomeStatus = Literal["done", "dead", "cancelled", "queued"]
"""What a job becomes: `queued` is that it runs again."""

OutcomeKind = Literal["done", "dead", "cancel", "retry", "snooze", "stopped", "lost"]
"""What decided it; `stopped`: the worker stopped, `lost`: the worker died."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended, or a job that had none: `status` is what the job becomes."""

    job_id: str
    job_name: str
    queue: str
    attempt: int
    """Which attempt ended, from 1; of a job that ended without having started how many had before.
    """
    status: OutcomeStatus
    kind: OutcomeKind
    """What decided it."""
    delay: float | None = None
    """Seconds until it runs again, where `status` is `queued`."""
    error: BaseException | None = None
    """What the attempt failed with; a `StoredError` in an outcome that was read by `from_dict`."""
    reason: str | None = None
    """Why it was cancelled, if a reason was given."""
    result_store: str | None = None
    """The name of the store that took the result, where there is one."""
    result_reference: bytes | None = None
    """What that store returned for it."""
    claim: int = 0
    """The number of the claim that began the attempt: it rises with each claim of the job."""
    worker_id: str | None = None
    """The worker that had claimed the job; None where none had."""
    queued_for: float | None = None
    """Seconds between when the job was due and its claim, by the database's clock; None where
    nobody had claimed it.
    """
    took: float | None = None
    """Seconds that the attempt took; None where it did not start. Of a worker that died: from the
    claim until the rescue, as the moment of its death is not known.
    """
    headers: Mapping[str, Any] = {}
    """What the enqueue sent along: JSON values by name."""
    tags: Sequence[str] = ()
    marks: Sequence[str] = ()
    """The plugins that must hear how the job ends."""

    @property
    def error_type(self) -> str | None:
        """The qualified name of the error's class, as `get_job_status` has it."""
        if isinstance(self.error, StoredError):
            return self.error.error_type
        return None if self.error is None else type_name(self.error)

    @property
    def error_message(self) -> str | None:
        """What the error says; its middle is left out where it is longer than 10,000 characters."""
        if isinstance(self.error, StoredError):
            return self.error.error_message
        return None if self.error is None else storable(cut(text_of(self.error)))

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values; of the error its type and its message."""
        text = msgspec.json.encode(self, enc_hook=self._plain)
        return cast("dict[str, Any]", msgspec.json.decode(text))

    def _plain(self, value: object) -> object:
        if isinstance(value, BaseException):
            return {"type": self.error_type, "message": self.error_message}
        return dict(cast("Mapping[str, Any]", value))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Outcome":
        """The outcome that `to_dict` wrote, also in another release: what is not known here is left
        out, what was not known there has its default. Raises `InvalidOption`.
        """
        try:
            return msgspec.convert(data, cls, dec_hook=_stored_error)
        except (msgspec.ValidationError, TypeError, KeyError) as error:
            raise InvalidOption(f"data= is no outcome: {error}", option="data") from None


def _stored_error(kind: type, value: Any) -> StoredError:
    return StoredError(str(value["type"]), str(value["message"]))


class AboutAttempt(Protocol):
    """What names an attempt, in outcomes and in log records: a context, an outcome, a reference."""

    @property
    def job_id(self) -> str: ...

    @property
    def job_name(self) -> str: ...

    @property
    def queue(self) -> str: ...

    @property
    def attempt(self) -> int: ...


class ClaimedAttempt(AboutAttempt, Protocol):
    """What else an outcome tells of an attempt: a context has it, and so has a reference."""

    @property
    def claim(self) -> int: ...

    @property
    def worker_id(self) -> str | None: ...

    @property
    def queued_for(self) -> float | None: ...

    @property
    def headers(self) -> Mapping[str, Any]: ...

    @property
    def tags(self) -> Sequence[str]: ...

    @property
    def marks(self) -> Sequence[str]: ...


class AttemptRef(NamedTuple):
    """An attempt as a row has it, of which there is no context."""

    job_id: str
    job_name: str
    queue: str
    attempt: int
    claim: int
    worker_id: str | None
    queued_for: float | None
    json_headers: str | None
    tags: Sequence[str]
    marks: Sequence[str]

    @property
    def headers(self) -> Mapping[str, Any]:
        """What the enqueue sent along."""
        return decoded_headers(self.json_headers)


def decoded_headers(text: str | None) -> Mapping[str, Any]:
    """The headers of a row, from JSON.

    An empty mapping where they cannot be read, such as numbers that SQL wrote: headers must keep no
    job from being settled.
    """
    if not text:
        return {}
    try:
        return cast("Mapping[str, Any]", msgspec.json.decode(text))
    except (ValueError, RecursionError):
        return {}


def outcome_of(
    about: ClaimedAttempt,
    status: OutcomeStatus,
    kind: OutcomeKind,
    *,
    took: float | None = None,
    delay: float | None = None,
    error: BaseException | None = None,
    reason: str | None = None,
    result_store: str | None = None,
    result_reference: bytes | None = None,
) -> Outcome:
    """The outcome of an attempt; all of them are made here."""
    # Python passes more than 15 keywords as a dict, which takes three times as long.
    told = Outcome(
        job_id=about.job_id,
        job_name=about.job_name,
        queue=about.queue,
        attempt=about.attempt,
        status=status,
        kind=kind,
        result_store=result_store,
        result_reference=result_reference,
        claim=about.claim,
        worker_id=about.worker_id or None,
        queued_for=about.queued_for,
        took=took,
        headers=about.headers,
        tags=about.tags,
        marks=about.marks,
    )

    if delay is None and error is None and reason is None:
        return told
    reason = reason and storable(reason)
    return msgspec.structs.replace(told, delay=delay, error=error, reason=reason)
