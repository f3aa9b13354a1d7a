"""Arguments and results that are too long for a page, as files."""

import asyncio
import json
from typing import Literal, get_args

from starlette.exceptions import HTTPException
from starlette.responses import Response

from soniq.plugin import presented

from .view import View

File = Literal["args", "result"]
FILES: tuple[File, ...] = get_args(File)

LARGEST = 20_000_000
"""Bytes that are read for a file: what is larger is for the application to fetch."""


async def download(what: File, view: View) -> Response:
    """The arguments or the result of a job as indented JSON, as they may be shown; 403 for who may
    not see them, 404 where there are none. Raises `InvalidJobId`.
    """
    if not view.may("see_arguments"):
        raise HTTPException(403)
    job = await view.app.get_job(view.request.path_params["id"], largest=LARGEST)
    if job is None or job[what] is None:
        raise HTTPException(404)

    shown = await presented(
        view.app, job["job_name"], what, job[what], serializer=job["serializer"]
    )
    text = await asyncio.to_thread(json.dumps, shown, indent=2, ensure_ascii=False, default=str)
    name = f"{job['job_id']}-{what}.json"
    return Response(
        text.encode(errors="backslashreplace"),
        media_type="application/octet-stream",  # nothing that a browser would show or run
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
