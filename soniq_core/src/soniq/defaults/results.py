"""Results in the job's own row."""

from collections.abc import Sequence

from soniq.hooks.markers import hookimpl
from soniq.hooks.values import ROW, ResultStore
from soniq.job.context import JobContext


class RowResults:
    """Keeps a result in the row: the reference is the result itself."""

    name = ROW

    async def put(self, ctx: JobContext, data: bytes) -> bytes:
        return data

    async def get(self, reference: bytes) -> bytes:
        return reference

    async def delete(self, references: Sequence[bytes]) -> None:
        """Nothing to do: it goes with the row."""


class RowResultsPlugin:
    """The store of every result that no other store takes."""

    name = "results-in-row"

    @hookimpl
    def result_stores(self) -> list[ResultStore]:
        return [RowResults()]
