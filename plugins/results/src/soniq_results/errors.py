"""The errors of this plugin: what happened, to the result of which job, and what to do."""

from soniq import SoniqError


class ResultsError(SoniqError):
    """The parent of these errors. `job_id` and `key` (of the object) say which result it is."""

    def __init__(self, message: str, *, job_id: str | None = None, key: str | None = None) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.key = key


class ResultMissing(ResultsError):
    """The store has no such object: it was removed, or the URL leads elsewhere."""


class ResultDamaged(ResultsError):
    """The object is not what was stored: its size or its SHA-256 is another."""


class StoreUnavailable(ResultsError):
    """The store could not be reached in time, or refused; trying again later may help."""


class UploadExpired(ResultsError):
    """The object was stored longer ago than the grace time, and counts as lost."""
