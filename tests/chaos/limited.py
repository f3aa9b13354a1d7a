"""A worker process of the limits' chaos: `python -m tests.chaos.limited URL PLUGIN FILE`, where
PLUGIN is "with" or "without".

Each attempt writes a line when it begins and another when it ends, for an observer outside.
"""

import asyncio
import os
import random
import sys
import time

from soniq import JobContext, Snooze, Soniq, hookimpl
from soniq.plugin import JobDefinition
from soniq_limits import AllOf, Limit, Limits, Rate, Sequence

LEASE = 2.0
KEYS = 4
RATE = Rate(20, per=2, by="key")


class Unread:
    """Reads the options where the plugin is not."""

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        job.option(Limit)
        job.option(AllOf)
        job.option(Rate)
        job.option(Sequence)


def app_of(url: str, plugin: str, file: str) -> Soniq:
    """The app of a worker."""
    app = Soniq(
        url,
        discover=False,
        plugins=[Limits() if plugin == "with" else Unread()],
        poll_interval=0.2,
        lease=LEASE,
    )
    out = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(what: str, keys: str, ctx: JobContext) -> None:
        line = f"{time.monotonic_ns()} {what} {os.getpid()} {ctx.job_id}/{ctx.claim} {keys}\n"
        os.write(out, line.encode())

    async def run(keys: str, ctx: JobContext) -> None:
        write("+", keys, ctx)
        try:
            await asyncio.sleep(random.uniform(0.001, 0.03))
        finally:
            write("-", keys, ctx)
        chance = random.random()
        if chance < 0.1:
            raise ValueError("boom")
        if chance < 0.2:
            raise Snooze(random.uniform(0, 0.3))

    @app.job(Limit(5, by="key"), name="five", max_attempts=50, retry=0.05)
    async def five(key: int, ctx: JobContext) -> None:
        await run(f"five:{key}", ctx)

    two = AllOf(Limit(2, by="key"), Limit(3, name="shared"))

    @app.job(two, name="two", max_attempts=50, retry=0)
    async def two_(key: int, ctx: JobContext) -> None:
        await run(f"two:{key},shared", ctx)

    @app.job(Sequence(by="key"), name="one", max_attempts=50, retry=0.05)
    async def one(key: int, ctx: JobContext) -> None:
        await run(f"one:{key}", ctx)

    @app.job(RATE, name="call", max_attempts=50, retry=0)
    async def call(key: int, ctx: JobContext) -> None:
        await run(f"call:{key}", ctx)

    return app


if __name__ == "__main__":
    asyncio.run(app_of(*sys.argv[1:4]).run_worker())
