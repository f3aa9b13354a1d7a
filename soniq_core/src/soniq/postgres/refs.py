"""What names an attempt, from a row that a rescue or a cancel returns."""

import asyncpg

from soniq.job.outcome import AttemptRef


def attempt_of(row: asyncpg.Record) -> AttemptRef:
    """The attempt that a row is about."""
    worker_id = row["worker_id"]
    return AttemptRef(
        job_id=str(row["id"]),
        job_name=row["name"],
        queue=row["queue"],
        attempt=row["attempt"],
        claim=row["claim"],
        worker_id=None if worker_id is None else str(worker_id),
        queued_for=row["queued_for"],
        json_headers=row["headers"],
        tags=row["tags"] or (),
        marks=row["marks"] or (),
    )
