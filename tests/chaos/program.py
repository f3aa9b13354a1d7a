"""A worker process of the chaos tests: `python -m tests.chaos.program URL SETTINGS`, settings as
JSON.

It works until SIGTERM, and then prints how many outcomes of each kind it has settled.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import asyncpg

from soniq import Soniq, hookimpl
from soniq.plugin import Outcome


class Settled:
    """Counts what was settled."""

    name = "settled"

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()

    @hookimpl
    def settled(self, outcomes: Sequence[Outcome]) -> None:
        self.kinds.update(outcome.kind for outcome in outcomes)


def define(app: Soniq) -> None:
    """The jobs of these tests."""

    @app.job(name="effect", max_attempts=50)
    async def effect(number: int, connection: asyncpg.Connection) -> None:
        await connection.execute("insert into effect values ($1)", number)
        await asyncio.sleep(random.uniform(0.05, 0.15))

    @app.job(name="unsteady", max_attempts=1000, retry=0)
    async def unsteady(number: int) -> None:
        if random.random() < 0.3:
            raise LookupError(f"{number} failed")


async def main(url: str, settings: dict[str, Any]) -> None:
    settled = Settled()
    app = Soniq(url, discover=False, plugins=[settled], **settings)
    define(app)
    await app.run_worker()
    await app.close()
    print(json.dumps(settled.kinds), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
