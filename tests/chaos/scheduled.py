"""A worker process of the schedules' chaos: `python -m tests.chaos.scheduled URL VERSION`.

Version "old" has one schedule, version "new" has another one more.
"""

import asyncio
import sys

from soniq import Soniq
from soniq_schedules import Every, Schedules


async def nothing() -> None: ...


def app_of(url: str, version: str) -> Soniq:
    """The app of a version of the code."""
    app = Soniq(url, discover=False, plugins=[Schedules()], poll_interval=0.2, lease=5)
    app.job(Every(seconds=1, catch_up="all", cap=1_000), name="common")(nothing)
    if version == "new":
        app.job(Every(seconds=1, catch_up="all", cap=1_000), name="added")(nothing)
    return app


if __name__ == "__main__":
    asyncio.run(app_of(sys.argv[1], sys.argv[2]).run_worker())
