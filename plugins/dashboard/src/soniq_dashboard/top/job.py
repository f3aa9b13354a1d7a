"""All about one job, as text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from soniq import JobDetail, Soniq
from soniq.plugin import as_json, plain, table
from soniq_dashboard.belongings import LARGEST, belongings
from soniq_dashboard.figures import duration, size

LONGEST = 4_000
"""Characters of a value that are shown."""
ATTEMPTS = ("attempt", "kind", "at", "took", "worker", "error")


async def told(app: Soniq, job_id: str) -> str:
    """All about a job, without what is secret. Raises `DatabaseError`."""
    job = await app.get_job(job_id, largest=LARGEST)
    if job is None:
        return "This job is not there any more."
    shown = await belongings(app, job)
    values = {
        "progress": shown["progress"],
        "arguments": shown["args"],
        "result": shown["result"],
        "headers": shown["headers"] or None,
    }
    if (error := job["error"]) is not None:
        values["error"] = f"{error['type']}: {shown['message']}"
        values["traceback"] = shown["traceback"]
    attempts = [
        {**each, "message": message}
        for each, message in zip(job["attempts"], shown["messages"], strict=True)
    ]

    parts = [*_fields({**job}), *_values(job, values)]
    width = max(len(name) for name, _ in parts)
    lines = [f"{name:{width}}  {value}" for name, value in parts]
    return "\n".join([*lines, *_attempts(attempts)])


def _fields(job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the job is, line by line."""
    yield "job", plain(job["job_name"])
    yield "id", job["job_id"]
    yield "status", job["status"] + (", asked to end" if job["cancel_requested"] else "")
    yield "queue", f"{plain(job['queue'])}, priority {job['priority']}"
    yield "attempt", f"{job['attempt']} of {job['max_attempts']}"
    yield "enqueued", plain(job["created_at"])
    yield "due", plain(job["scheduled_at"])
    for what in ("started_at", "finished_at", "expires_at", "forget_at"):
        if job[what] is not None:
            yield what.removesuffix("_at"), plain(job[what])
    if job["started_at"] and job["finished_at"]:
        yield "took", duration((job["finished_at"] - job["started_at"]).total_seconds())
    for what in ("worker_id", "tags", "held_by", "dedup_label"):
        if job[what]:
            yield what, plain(job[what])


def _values(job: JobDetail, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What belongs to the job, each value below its name where it takes several lines."""
    sizes = {"arguments": job["args_size"], "result": job["result_size"]}
    for name, value in values.items():
        if value is None:
            if sizes.get(name):
                yield name, f"{size(sizes[name])}, which are not shown"
            continue
        shown = value if isinstance(value, str) else as_json(value)
        if len(shown) > LONGEST:
            shown = f"{shown[:LONGEST]}\n... {len(shown) - LONGEST:,} more characters"
        yield name, plain(shown).rstrip("\n").replace("\n", "\n  ")


def _attempts(attempts: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """Those that did not succeed, and who ran the job again in between."""
    if not attempts:
        return []
    rows = [
        [
            each["n"],
            each["kind"],
            each["at"],
            None if each["took"] is None else duration(each["took"]),
            each["worker_id"] or each["by"],
            f"{each['type']}: {each['message']}"[:200] if each["type"] else None,
        ]
        for each in attempts
    ]
    return ["", *table(ATTEMPTS, rows).split("\n")]
