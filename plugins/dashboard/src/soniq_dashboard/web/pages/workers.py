"""The live workers, those that fell silent, and one of them."""

import asyncio
from collections.abc import Mapping, Sequence
from uuid import UUID

from starlette.exceptions import HTTPException

from soniq.plugin import WorkerStatus
from soniq_dashboard import memory
from soniq_dashboard.web.view import View

from . import Page
from .overview import overview_of
from .running import is_long, usual
from .series import collector, counted
from .silent import silent_of


async def read(view: View) -> Mapping[str, object]:
    now, (gone, missing) = await asyncio.gather(overview_of(view), silent_of(view))
    taken, untold = await memory_of(view, now["workers"], gone)
    return {
        "workers": now["workers"],
        "silent": gone,
        "memory": taken,
        "missing": missing or untold,
    }


async def read_one(view: View) -> Mapping[str, object]:
    """One worker, live or silent."""
    try:
        worker_id = UUID(view.request.path_params["id"])
    except ValueError:
        raise HTTPException(404) from None
    live = (await overview_of(view))["workers"]
    found = [each for each in live if each["worker_id"] == str(worker_id)]
    is_silent = not found
    if is_silent:
        found = [*(await silent_of(view, worker_id))[0]]
    if not found:
        raise HTTPException(404)

    (worker,) = found
    taken, untold = await memory_of(view, () if is_silent else found, found if is_silent else ())
    jobs = sorted(worker["running_jobs"], key=lambda job: job["started_at"])
    of_names, missing = await usual(view, {job["job_name"] for job in jobs})
    return {
        "worker": worker,
        "is_silent": is_silent,
        "jobs": jobs,
        "usual": of_names,
        "is_long": {
            job["job_id"] for job in jobs if is_long(job["job_name"], job["started_at"], of_names)
        },
        "memory": taken.get(worker["worker_id"]),
        "missing": missing or untold,
    }


async def memory_of(
    view: View, live: Sequence[WorkerStatus], silent: Sequence[WorkerStatus]
) -> tuple[Mapping[str, int], str]:
    """Bytes that workers take, by id; where that cannot be read it is empty, and why."""
    if collector(view) is None or not (live or silent):
        return {}, ""

    ids = frozenset(each["worker_id"] for each in (*live, *silent))
    key = ("memory", ids)
    return await counted(view, key, lambda: memory.read(view.app, live, silent), {})


PAGE = Page("/workers", "workers.html", read, "Workers", "w")
ONE = Page("/workers/{id}", "worker.html", read_one, "Worker")
