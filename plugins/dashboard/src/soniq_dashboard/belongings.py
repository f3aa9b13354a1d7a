"""What belongs to a job, as operators may be shown it: in a browser and in a terminal."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from soniq import JobDetail, Soniq
from soniq.plugin import presented

LARGEST = 50_000
"""Bytes of arguments and results that are read to be shown."""


async def belongings(app: Soniq, job: JobDetail) -> Mapping[str, Any]:
    """Arguments, result, headers and progress; `messages`, of the attempts in their order; of the
    error, where there is one, `message` and `traceback`.
    """
    shown = partial(presented, app, job["job_name"])
    written = {"serializer": job["serializer"]}
    found: dict[str, Any] = {
        "args": await shown("args", job["args"], **written),
        "result": await shown("result", job["result"], **written),
        "headers": await shown("headers", job["headers"]),
        "progress": await shown("progress", job["progress"]),
        "messages": [await shown("error", each["message"]) for each in job["attempts"]],
    }
    if error := job["error"]:
        found["message"] = await shown("error", error["message"])
        found["traceback"] = await shown("traceback", error["traceback"])
    return found
