"""A worker process that is killed at a certain point: `python -m tests.plugins.results.worker
SETTINGS`, as JSON.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

from soniq import Soniq
from soniq_results import ResultsPlugin

MEGABYTE = 1_048_576


def define(app: Soniq, *, deadly: bool = False) -> None:
    """The jobs of these tests; `deadly`: the stream kills its process after 20 of its megabytes."""

    @app.job(name="text")
    async def text(length: int) -> str:
        return "x" * length

    @app.job(name="stream")
    async def stream(megabytes: int) -> AsyncIterator[bytes]:
        for number in range(megabytes):
            if deadly and number == 20:
                os.kill(os.getpid(), signal.SIGKILL)
            yield number.to_bytes() * MEGABYTE


async def main(settings: dict[str, Any]) -> None:
    store, die = settings.pop("store"), settings.pop("die")
    app = Soniq(discover=False, plugins=[ResultsPlugin(store, threshold=0)], **settings)
    define(app, deadly=die == "stream")
    if die == "after_job":
        app.after_job(lambda: os.kill(os.getpid(), signal.SIGKILL))
    await app.run_worker()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
