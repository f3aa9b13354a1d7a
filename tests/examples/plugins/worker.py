"""A worker process that is killed while it settles: `python -m tests.examples.plugins.worker
SETTINGS`, as JSON.

`die`: "settle_tx" (the webhook is written, and not committed), "settled" (both are committed), or
"handler".
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from soniq import Soniq, hookimpl
from soniq.plugin import Outcome
from soniq_webhook import WebhookPlugin


class Kills:
    """Kills its process when it is told of a dead job."""

    name = "kills"

    def __init__(self, where: str) -> None:
        self._where = where

    @hookimpl
    def settle_tx(self, outcomes: Sequence[Outcome]) -> None:
        self._kill("settle_tx", outcomes)

    @hookimpl
    def settled(self, outcomes: Sequence[Outcome]) -> None:
        self._kill("settled", outcomes)

    def _kill(self, hook: str, outcomes: Sequence[Outcome]) -> None:
        if hook == self._where and any(outcome.status == "dead" for outcome in outcomes):
            os.kill(os.getpid(), signal.SIGKILL)


def define(app: Soniq, *, deadly: bool = False) -> None:
    """The job of these tests; `deadly`: it kills its process."""

    @app.job(name="fails", max_attempts=1)
    async def fails() -> None:
        if deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        raise LookupError("nobody home")


async def main(settings: dict[str, Any]) -> None:
    url, secret, die = settings.pop("url"), settings.pop("secret"), settings.pop("die")
    app = Soniq(discover=False, plugins=[WebhookPlugin(url, secret), Kills(die)], **settings)
    define(app, deadly=die == "handler")
    await app.run_worker()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
