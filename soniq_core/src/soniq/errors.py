"""Every error that Soniq raises. Catch `SoniqError` for all of them, or a child by intent.

Each says what happened, to which job or plugin, and what to do; the facts are attributes as well.
"""

from collections.abc import Sequence
from typing import Any

from soniq.status import Status


class SoniqWarning(UserWarning):
    """Something works, but not as a production system should."""


class SoniqError(Exception):
    """The parent of every error that Soniq raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied, and sent to another process, with its text and its facts, whatever it is made
        of.
        """
        return _made_again, (type(self), self.args), self.__dict__


def _made_again(kind: type[SoniqError], args: tuple[object, ...]) -> SoniqError:
    error = kind.__new__(kind, *args)
    error.args = args  # which an OSError, as TimeoutError is one, leaves to its __init__
    return error


class ConfigurationError(SoniqError):
    """A setting, an option or a URL that cannot be used; raised before anything is done."""


class DistributionConflict(SoniqError):
    """The original `soniq` distribution is installed beside `soniq-core`; both own the import
    name.
    """


# --- plugins -------------------------------------------------------------------------------------


class PluginError(SoniqError):
    """A plugin that cannot be loaded or used; `plugin` is its name, `distribution` where it came
    from, if known.
    """

    def __init__(self, message: str, *, plugin: str, distribution: str | None = None) -> None:
        super().__init__(message)
        self.plugin = plugin
        self.distribution = distribution


class PluginNotLoaded(PluginError):
    """The app has no plugin of the class that was asked for: it was not passed, is not installed,
    or is blocked.
    """


class HookTimeout(SoniqError):
    """A hook that waited longer than `hook_timeout`, or a provider or a result store that did not
    answer for five minutes, was ended. For an observer the job went on.
    """


# --- the app -------------------------------------------------------------------------------------


class AppNotStarted(SoniqError, RuntimeError):
    """What needs an app that has started was asked for before, or while it is being started."""


class AppClosed(SoniqError, RuntimeError):
    """The app, or the event loop that it is in use in, was closed before the call was done."""


class WrongEventLoop(SoniqError, RuntimeError):
    """The app is in use in another event loop, or a call that waits would block the one here."""


class WorkerRunning(SoniqError, RuntimeError):
    """While a worker of the app runs, no jobs or hooks can be added, nor can a job close it."""


# --- the database --------------------------------------------------------------------------------


class DatabaseError(SoniqError):
    """PostgreSQL could not be used."""


class DatabaseUnavailable(DatabaseError):
    """No connection could be made, or the one in use was lost and did not come back."""


class DatabaseUnsupported(DatabaseError):
    """The server is older than the oldest PostgreSQL that Soniq supports, or set up in a way it
    cannot work with.
    """


class SchemaMissing(DatabaseError):
    """Soniq's tables are not there, or are older than this code, and `setup=False` or missing
    rights forbid it.
    """


class SchemaTooNew(DatabaseError):
    """The tables were made by a newer Soniq that this code cannot work with."""


# --- defining and enqueueing ---------------------------------------------------------------------


class JobDefinitionError(SoniqError):
    """A job that cannot be defined so: its name, signature, options or types; `job` is its name."""

    def __init__(self, message: str, *, job: str) -> None:
        super().__init__(message)
        self.job = job


class UnknownJob(SoniqError):
    """No job of this name is defined here; `nearest` is the most similar name that is, if any."""

    def __init__(self, name: str, nearest: str | None, way: str | None = None) -> None:
        hint = f"; did you mean {nearest!r}?" if nearest else ""
        way = (
            way
            or "Soniq(unknown_jobs='allow') lets an app enqueue jobs that another service defines"
        )
        super().__init__(f"no job named {name!r} is defined in this app{hint} ({way})")
        self.name = name
        self.nearest = nearest


class InvalidArguments(SoniqError):
    """Arguments that the job does not take: missing, unexpected, or of another type; `job` is its
    name.
    """

    def __init__(self, message: str, *, job: str) -> None:
        super().__init__(message)
        self.job = job


class InvalidOption(SoniqError, ValueError):
    """An option of a job, an enqueue, a signal or another call with a value that cannot be;
    `option` is its name.
    """

    def __init__(self, message: str, *, option: str) -> None:
        super().__init__(message)
        self.option = option


class InvalidJobId(SoniqError):
    """An id that is no UUID."""

    def __init__(self, value: object) -> None:
        super().__init__(f"a job id is a UUID, as enqueue returns it; got {value!r}")
        self.value = value


class SerializationError(SoniqError):
    """Arguments or a result that cannot be turned into bytes, or bytes that cannot be read; `job`
    is the job's name.
    """

    def __init__(self, message: str, *, job: str) -> None:
        super().__init__(message)
        self.job = job


class UnknownArguments(SerializationError):
    """Stored arguments that the job does not take here: they come from newer code, from older, or
    from SQL.
    """


class PayloadTooLarge(SoniqError):
    """Arguments or a result over the limit; `size` and `limit` in bytes."""

    def __init__(self, *, job: str, what: str, size: int, limit: int) -> None:
        take = "takes" if what == "result" else "take"
        super().__init__(
            f"the {what} of {job} {take} {size:,} bytes; the limit is {limit:,} (max_payload). "
            "Store large data elsewhere and pass a reference"
        )
        self.job = job
        self.what = what
        self.size = size
        self.limit = limit


class DuplicateJob(SoniqError):
    """A job cannot come back, because another holds its dedup key; `job_id` is that other job."""

    def __init__(self, message: str, *, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


# --- what a caller waits for ---------------------------------------------------------------------


class JobNotFound(SoniqError):
    """No job with this id exists, or it has been forgotten."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"no job has the id {job_id}")
        self.job_id = job_id


class JobNotRetryable(SoniqError):
    """Only a dead, cancelled or queued job can be retried; `status` is what this one is, `held_by`
    who holds it.
    """

    def __init__(self, job_id: str, status: Status, held_by: Sequence[str] = ()) -> None:
        holders = f" by {', '.join(held_by)}, and runs once it is released" if held_by else ""
        super().__init__(
            f"only a dead, cancelled or queued job can be retried; {job_id} is {status}{holders}"
        )
        self.job_id = job_id
        self.status = status
        self.held_by = list(held_by)


class JobChanged(SoniqError):
    """A job is not of the status that was asked for, as it changed meanwhile; `status` is what it
    is now.
    """

    def __init__(self, job_id: str, status: Status) -> None:
        super().__init__(f"nothing was done: {job_id} is {status}, which it was not before")
        self.job_id = job_id
        self.status = status


class JobRunning(SoniqError):
    """A job that runs cannot be deleted: cancel it, and delete it when it has ended."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} runs; cancel it, and delete it when it has ended")
        self.job_id = job_id


class WaitTimeout(SoniqError, TimeoutError):
    """The job was not finished in time; it goes on. `job_id`, and `timeout` in seconds."""

    def __init__(self, job_id: str, timeout: float) -> None:
        super().__init__(f"job {job_id} was not finished after {timeout:g} s")
        self.job_id = job_id
        self.timeout = timeout


class ResultNotDeleted(SoniqError):
    """A job was not deleted: no store here can delete its result. `job_id` is that job."""

    def __init__(self, job_id: str, why: str) -> None:
        super().__init__(f"job {job_id} was not deleted: {why}")
        self.job_id = job_id


class JobFailed(SoniqError):
    """The job is dead: there will be no result. The attributes are those of its last attempt."""

    def __init__(
        self, job_id: str, error_type: str, error_message: str, traceback: str | None
    ) -> None:
        super().__init__(f"job {job_id} is dead: {error_type}: {error_message}")
        self.job_id = job_id
        self.error_type = error_type
        self.error_message = error_message
        self.traceback = traceback


class JobCancelled(SoniqError):
    """The job was cancelled: there will be no result. `reason` says why, if a reason was given."""

    def __init__(self, job_id: str, reason: str | None) -> None:
        super().__init__(f"job {job_id} was cancelled" + (f": {reason}" if reason else ""))
        self.job_id = job_id
        self.reason = reason


class StoredError(SoniqError):
    """An error of which type and message were stored, and not the exception itself: that of an
    outcome which was read by `Outcome.from_dict`.
    """

    def __init__(self, error_type: str, error_message: str) -> None:
        super().__init__(f"{error_type}: {error_message}")
        self.error_type = error_type
        self.error_message = error_message


# --- what ends an attempt ------------------------------------------------------------------------


class AttemptError(SoniqError):
    """The parent of what Soniq itself ends an attempt with."""


class AttemptTimeout(AttemptError, TimeoutError):
    """The attempt took longer than the job's timeout; `timeout` in seconds."""

    def __init__(self, timeout: float) -> None:
        super().__init__(f"the attempt took longer than its timeout of {timeout:g} s")
        self.timeout = timeout


class WorkerLost(AttemptError):
    """The lease of the worker that ran the attempt expired: it died, or could not reach
    the database; `worker_id` is its id.
    """

    def __init__(self, worker_id: str) -> None:
        super().__init__(f"the lease of worker {worker_id} expired while it ran this attempt")
        self.worker_id = worker_id


class CompletionError(AttemptError):
    """The transaction that was to complete the job cannot: the handler ended it, or two were
    given.
    """


class NoAttempt(AttemptError, RuntimeError):
    """The context of a job is that of no attempt that runs, so that it cannot enqueue children."""


class LeaseLost(AttemptError):
    """The job was taken from this worker, which had been silent for longer than its lease; it has
    no effect.
    """


class WorkerStopped(AttemptError):
    """The worker stopped, and the attempt had not ended within the grace time; the job runs again
    elsewhere.
    """


class RetriesExhausted(AttemptError):
    """The handler asked for a retry and no attempt is left; `attempts` is how many there were."""

    def __init__(self, attempts: int) -> None:
        super().__init__(f"the handler asked for a retry, and all {attempts} attempts are used")
        self.attempts = attempts
