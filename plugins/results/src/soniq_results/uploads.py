"""What is being stored and not yet settled: a row for each upload, also after a crash.

The row is written before the first object and deleted in the transaction that settles the job. What
is left of it longer than the grace time belongs to no job, and `take` gives it to the sweeper.
"""

from collections.abc import Sequence
from typing import NamedTuple

from soniq import Soniq
from soniq.plugin import Migration, TransactionConnection

from .errors import UploadExpired
from .reference import Reference

MIGRATIONS = (
    Migration(
        version=1,
        sql="""
        create table {schema}.upload (
            key text primary key,
            job_id uuid not null,
            objects integer not null,
            stored_at timestamptz not null default now(),
            taken boolean not null default false
        );
        create index upload_stored_at on {schema}.upload (stored_at);
        """,
    ),
)


class Taken(NamedTuple):
    """An upload that nobody settles any more; `objects` is how many it may have."""

    key: str
    objects: int


class Uploads:
    """The rows of uploads, in the plugin's own table."""

    def __init__(self, app: Soniq, plugin: str) -> None:
        self._app = app
        self._table = f"{app.plugin_schema(plugin)}.upload"

    async def announce(self, key: str, job_id: str, objects: int) -> None:
        """Write down the `objects`th object of an upload before it is stored.

        Raises `UploadExpired`.
        """
        if objects == 1:
            statement = (
                f"insert into {self._table} (key, job_id, objects) values ($1, $2, $3)"
                " returning key"
            )
        else:
            statement = (
                f"update {self._table} set objects = $3, stored_at = now() "
                "where key = $1 and job_id = $2 and not taken returning key"
            )

        async with self._app.connection() as connection:
            if not await connection.fetchval(statement, key, job_id, objects):
                raise _expired(job_id, key)

    async def settle(self, tx: TransactionConnection, references: Sequence[Reference]) -> None:
        """Delete the rows of jobs that are being settled.

        Raises `UploadExpired` for one that is gone.
        """
        rows = await tx.fetch(
            f"delete from {self._table} where key = any($1) and not taken returning key",
            [r.key for r in references],
        )
        deleted = {row["key"] for row in rows}
        for reference in references:
            if reference.key not in deleted:
                raise _expired(reference.job_id, reference.key)

    async def take(self, grace: float, limit: int) -> list[Taken]:
        """Uploads older than `grace` seconds, with which no job can be settled from now on."""
        statement = f"""
            update {self._table} set taken = true where key in (
                select key from {self._table}
                where stored_at < now() - make_interval(secs => $1)
                order by stored_at limit $2 for update skip locked
            ) returning key, objects
            """
        async with self._app.connection() as connection:
            rows = await connection.fetch(statement, grace, limit)
        return [Taken(row["key"], row["objects"]) for row in rows]

    async def forget(self, taken: Sequence[Taken]) -> None:
        """Delete the rows of uploads whose objects are gone."""
        async with self._app.connection() as connection:
            await connection.execute(
                f"delete from {self._table} where key = any($1) and taken",
                [each.key for each in taken],
            )


def _expired(job_id: str, key: str) -> UploadExpired:
    return UploadExpired(
        f"the result of job {job_id} (object {key}) was stored longer ago than SONIQ_RESULTS_GRACE"
        " allows and is being removed; the attempt fails, and is tried again",
        job_id=job_id,
        key=key,
    )
