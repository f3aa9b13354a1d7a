"""What a plugin's `settle_tx` refuses is done without that plugin, once it has refused often
enough.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeVar

from soniq.errors import PluginError
from soniq.worker.settling.settlement import given_up

log = logging.getLogger("soniq.worker")

T = TypeVar("T")


class Refused(Exception):
    """A `settle_tx` refused, for a reason that does not pass by itself."""

    def __init__(self, refusal: PluginError) -> None:
        self.refusal = refusal


async def over_refusals(
    work: Callable[[Collection[str]], Awaitable[T]], what: str, fields: Mapping[str, object]
) -> T:
    """Do a piece of work on one job, which is given the plugins to do it without: again after each
    `Refused`. Log who is left out, with `what` is done and the fields of the record.
    """
    refusals: list[str] = []
    while True:
        try:
            return await work(given_up(refusals))
        except Refused as error:
            plugin = error.refusal.plugin
            refusals.append(plugin)
            if plugin in given_up(refusals):
                log.error(
                    "%s without the plugin that refuses it: %s", what, error.refusal, extra=fields
                )
