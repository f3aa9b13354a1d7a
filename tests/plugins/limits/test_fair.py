"""Fair: who has many jobs keeps nobody else waiting for more than some of them."""

import asyncio

import pytest

from soniq import InvalidOption, Soniq
from soniq_limits import Fair, Limits
from tests.plugins.limits.test_limit import all_end
from tests.support.jobs import working
from tests.support.waiting import eventually


def ordered(app: Soniq, order: list[str], ahead: int = 5) -> None:
    @app.job(Fair(by="tenant", ahead=ahead), name="report")
    async def report(tenant: str) -> None:
        order.append(tenant)


async def test_who_comes_later_waits_for_no_more_than_some_jobs_of_who_has_many(app: Soniq) -> None:
    order: list[str] = []
    ordered(app, order)
    await app.start()
    await app.enqueue_many("report", [{"tenant": "large"}] * 500)
    await app.enqueue_many("report", [{"tenant": "small"}] * 3)
    async with working(app, concurrency=1):
        await all_end(app, 503)
    assert max(n for n, tenant in enumerate(order) if tenant == "small") < 250
    assert order.count("large") == 500


async def test_who_is_alone_has_all_workers(app: Soniq) -> None:
    running = 0
    enough = asyncio.Event()

    @app.job(Fair(by="tenant", ahead=2), name="report")
    async def report(tenant: str) -> None:
        nonlocal running
        running += 1
        await enough.wait()

    async def all_run() -> bool:
        return running == 6

    async with working(app, concurrency=6):
        await app.enqueue_many("report", [{"tenant": "large"}] * 12)
        await eventually(all_run)
        enough.set()
        await all_end(app, 12)


async def test_those_of_one_tenant_start_in_their_order(app: Soniq) -> None:
    order: list[int] = []

    @app.job(Fair(by="tenant", ahead=3), name="step")
    async def step(tenant: str, n: int) -> None:
        order.append(n)

    await app.start()
    await app.enqueue_many("step", [{"tenant": "a", "n": n} for n in range(30)])
    async with working(app, concurrency=1):
        await all_end(app, 30)
        (state,) = await app.plugin(Limits).list()
    assert order == list(range(30))
    assert (state.name, state.kind, state.n) == ("fair step/tenant", "fair", 3)


def test_it_needs_an_argument_and_a_number() -> None:
    with pytest.raises(InvalidOption):
        Fair()
    with pytest.raises(InvalidOption):
        Fair(by="tenant", ahead=0)
