"""Enqueues that follow each other closely go over one connection, which nobody else misses."""

import asyncio

import pytest

from soniq import Soniq
from soniq.enqueue.kept import KEEP, SMALL_POOL, KeptConnection
from soniq.postgres.connections import Checkout
from soniq.postgres.database import Database
from tests.conftest import MakeApp
from tests.support.waiting import eventually


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is appended to it, each time that a connection is taken from the pool and given back."""
    taken: list[str] = []
    check_out, check_in = Database.check_out, Database.check_in

    checkouts: list[Checkout] = []

    async def noted_check_out(database: Database) -> Checkout:
        taken.append("taken")
        checkouts.append(await check_out(database))
        return checkouts[-1]

    async def noted_check_in(
        database: Database, checkout: Checkout, error: BaseException | None = None
    ) -> None:
        if checkout in checkouts:  # what is acquired is given back by it, too
            taken.append("given back")
        await check_in(database, checkout, error)

    monkeypatch.setattr(Database, "check_out", noted_check_out)
    monkeypatch.setattr(Database, "check_in", noted_check_in)
    return taken


async def _nothing(n: int) -> None: ...


async def _started(app: Soniq) -> Soniq:
    app.job(name="nothing")(_nothing)
    await app.start()
    return app


async def test_enqueues_that_follow_each_other_take_one_connection_and_give_it_back(
    app: Soniq, taken: list[str]
) -> None:
    await _started(app)
    taken.clear()
    for n in range(20):
        await app.enqueue("nothing", n=n)
    assert taken.count("taken") < 20

    async def given_back() -> bool:
        return taken[-1] == "given back"

    await eventually(given_back)
    assert taken.count("taken") == taken.count("given back")
    assert await app.run_worker(run_once=True) == 20


async def test_a_small_pool_has_its_connection_back_at_once(
    make_app: MakeApp, taken: list[str]
) -> None:
    app = await _started(make_app(pool_size=SMALL_POOL - 1))
    taken.clear()
    for n in range(3):
        await app.enqueue("nothing", n=n)
        assert taken[-1] == "given back"


async def test_an_app_that_is_closed_right_after_an_enqueue_leaves_no_connection(
    app: Soniq, taken: list[str]
) -> None:
    await _started(app)
    await app.enqueue("nothing", n=1)
    await app.close()
    assert taken.count("taken") == taken.count("given back")
    await asyncio.sleep(2 * KEEP)  # nothing of it is left that would fail now


async def test_a_connection_that_ended_while_it_was_kept_costs_no_job(
    app: Soniq, connection: object
) -> None:
    await _started(app)
    for n in range(3):
        await app.enqueue("nothing", n=n)
        await connection.execute(  # type: ignore[attr-defined]
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
    assert await app.run_worker(run_once=True) == 3


async def test_a_give_back_that_was_cancelled_does_not_end_the_close(
    app: Soniq, taken: list[str]
) -> None:
    await _started(app)
    kept = KeptConnection(app._database)
    taken.clear()
    async with kept.acquire():
        pass
    kept._look()  # it was used
    kept._look()
    (task,) = (each for each in asyncio.all_tasks() if each.get_name() == "soniq outbox")
    task.cancel()
    await kept.close()
    assert taken == ["taken", "given back"]
