"""Words that the search box knows: keys, and the values that there are of some."""

from collections.abc import Iterator

from starlette.responses import JSONResponse, Response

from soniq import Overview
from soniq_dashboard.operations import OF_ORDER

from .pages.overview import overview_of
from .query import TIMES, WORDS, quoted
from .view import View
from .words import PLAIN

MOST = 500
"""Values of each kind."""


async def completion(view: View) -> Response:
    """The words, as a list in JSON. Names and queues are those that workers know and serve, and
    those of what waits; nothing is read of jobs.
    """
    return JSONResponse([*_words(await overview_of(view), view.may("see_arguments"))])


def _words(now: Overview, secret: bool) -> Iterator[str]:
    keys = {*WORDS, *TIMES} - ({"args"} if not secret else set())
    yield from (f"{each}:" for each in sorted(keys))
    yield from (f"status:{each}" for each in OF_ORDER["newest"])
    yield from (f"order:{each}" for each in OF_ORDER)

    workers = now["workers"]
    names = {name for worker in workers for name in worker["names"]} | {*now["unknown_names"]}
    served = {queue for worker in workers for queue in worker["queues"] or ()}
    queues = {*now["queues"], *now["backlog"], *served}
    yield from (f"name:{_written(each)}" for each in sorted(names)[:MOST])
    yield from (f"queue:{_written(each)}" for each in sorted(queues)[:MOST])
    yield from (f"worker:{each['worker_id']}" for each in workers[:MOST])


def _written(value: str) -> str:
    return value if PLAIN.fullmatch(value) else quoted(value)
