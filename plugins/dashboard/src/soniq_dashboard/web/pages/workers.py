"""The live workers, those that fell silent, and one of them."""

from collections.abc import Mapping
from uuid import UUID

from starlette.exceptions import HTTPException

from soniq_dashboard.web.view import View

from . import Page
from .overview import overview_of
from .running import lasts, usual
from .silent import silent_of


async def read(view: View) -> Mapping[str, object]:
    now = await overview_of(view)
    gone, missing = await silent_of(view)
    return {"workers": now["workers"], "silent": gone, "missing": missing}


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
    jobs = sorted(worker["running_jobs"], key=lambda job: job["started_at"])
    of_names, missing = await usual(view, {job["job_name"] for job in jobs})
    return {
        "worker": worker,
        "is_silent": is_silent,
        "jobs": jobs,
        "usual": of_names,
        "is_long": {
            job["job_id"]
            for job in jobs
            if (known := of_names.get(job["job_name"]))
            and known.is_passed(lasts(job["started_at"]))
        },
        "missing": missing,
    }


PAGE = Page("/workers", "workers.html", read, "Workers", "w")
ONE = Page("/workers/{id}", "worker.html", read_one, "Worker")
