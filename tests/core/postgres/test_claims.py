"""What one exchange with the database settles and claims."""

from typing import TYPE_CHECKING

import asyncpg

from soniq import Soniq
from soniq.worker.settling.settlement import Requeue
from tests.core.postgres.support import Exchanger

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


async def test_a_settlement_that_is_sent_twice_in_one_exchange_is_written_once(
    app: Soniq, connection: "Connection", schema: str
) -> None:
    app.job(name="job")(_nothing)
    await app.enqueue_many("job", [{"number": number} for number in range(3)])
    worker = Exchanger(app)
    await worker.register()
    one, two, three = await worker.claim()
    await worker.claim(*(worker.done(each) for each in (one, two, one, three, two)))
    await worker.close()
    assert worker.lost == 0
    rows = await connection.fetch(f"select id, status, claim from {schema}.history")
    assert sorted((row["id"], row["status"], row["claim"]) for row in rows) == sorted(
        (each.id, "done", 1) for each in (one, two, three)
    )


async def test_an_exchange_does_not_claim_what_it_gives_back(app: Soniq) -> None:
    app.job(name="job")(_nothing)
    first, second = [await app.enqueue("job", number=number) for number in range(2)]
    worker = Exchanger(app)
    await worker.register()
    (one,) = await worker.claim(limit=1)
    assert str(one.id) == first
    assert [str(each.id) for each in await worker.claim(Requeue(id=one.id, claim=1))] == [second]
    assert [(str(each.id), each.claim) for each in await worker.claim()] == [(first, 2)]
    await worker.close()


async def test_one_claim_of_several_queues_has_the_urgent_and_then_the_oldest_first(
    app: Soniq,
) -> None:
    app.job(name="job")(_nothing)
    for number, (queue, priority) in enumerate(
        [("a", 1), ("b", 0), ("a", 0), ("c", -1), ("b", 0), ("a", 1)]
    ):
        await app.enqueue("job", args={"number": number}, queue=queue, priority=priority)
    worker = Exchanger(app)
    await worker.register()
    claimed = await worker.claim()
    await worker.close()
    assert [(each.priority, each.queue) for each in claimed] == [
        (-1, "c"), (0, "b"), (0, "a"), (0, "b"), (1, "a"), (1, "a"),
    ]  # fmt: skip


async def _nothing(number: int) -> None: ...
