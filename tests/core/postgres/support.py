"""What the tests of the store share: a database of their own, its deadlocks, and a worker reduced
to its statement.
"""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg

from soniq import Soniq
from soniq.worker.claimed import Claimed
from soniq.worker.claims import Claims
from soniq.worker.lanes import Lanes
from soniq.worker.services import WorkerOptions
from soniq.worker.settling.exchange import Claimer
from soniq.worker.settling.settlement import Finish, Requeue, RequeueKind, Settlement
from soniq.worker.state import WorkerState
from soniq.worker.survey import BELOW_ALL
from tests.docs.pages import DOCS, blocks


@asynccontextmanager
async def own_database(url: str) -> AsyncIterator[str]:
    """The URL of a new database on the same server, dropped afterwards: its statistics are those of
    one test.
    """
    name = f"test_{uuid.uuid4().hex[:12]}"
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"create database {name}")
        try:
            yield urlsplit(url)._replace(path=f"/{name}").geturl()
        finally:
            await connection.execute(f"drop database {name} with (force)")
    finally:
        await connection.close()


def documented_rights(role: str, name: str) -> str:
    """The grants that the documentation has for a role, as SQL for the role of this name."""
    (block,) = blocks(DOCS / "how-to" / "deploy.md", "sql")
    grants = [
        line
        for line in block.text.splitlines()
        if line.startswith("grant ") and line.endswith(f" to {role};")
    ]
    assert grants, f"the documentation has no grants for {role}"
    return "\n".join(grants).replace(f" to {role};", f" to {name};")


async def deadlocks(url: str) -> int:
    """How many deadlocks PostgreSQL has broken up in a database, once all apps have left it and
    told so.
    """
    connection = await asyncpg.connect(url)
    try:
        others = (
            "select count(*) from pg_stat_activity where datname = current_database() and pid <>"
            " pg_backend_pid()"
        )
        while await connection.fetchval(f"{others} and backend_type = 'client backend'"):
            await asyncio.sleep(0.02)
        count = await connection.fetchval(
            "select deadlocks from pg_stat_database where datname = current_database()"
        )
        return int(count)
    finally:
        await connection.close()


def claimer_of(app: Soniq) -> tuple[Claimer, WorkerState, Claims]:
    """What a worker of a started app has its statement in, without the worker."""
    assert app._runtime is not None
    services = app._runtime.services()
    state, claims = WorkerState(services, WorkerOptions(concurrency=1)), Claims()
    return Claimer(services, state, claims, Lanes()), state, claims


class Exchanger:
    """A worker reduced to its one statement: claims, and settles with the next claim. A share of
    the jobs fails.
    """

    def __init__(self, app: Soniq, *, failing: float = 0.0, batch: int = 100) -> None:
        self._database = app._database
        self._claimer, state, self._claims = claimer_of(app)
        self.id = state.id
        self.claims: Counter[uuid.UUID] = Counter()
        self.lost = 0
        self._left: list[Settlement] = []
        self._lanes = Lanes()
        self._failing = failing
        self._batch = batch

    async def register(self, *, lease: float = 3600.0) -> None:
        """Put its row into the table of workers."""
        await self._database.fetch(
            "register_worker", self.id, lease, 1, 1, "host", "0", None, [], []
        )

    async def claim(self, *settlements: Settlement, limit: int | None = None) -> list[Claimed]:
        """One exchange; what it brought."""
        rows = await self._database.fetch("lanes", "", BELOW_ALL, 100_000)
        self._lanes.heat(
            (row["queue"], row["priority"]) for row in rows if row["priority"] is not None
        )
        self._lanes.wake()
        limit = limit or self._batch
        self._claims.sending = settlements
        exchange = await self._claimer.exchange(settlements, self._lanes.ask(), limit)
        if exchange.looked:
            self._lanes.answer(
                [(c.queue, c.priority, c.scheduled_at, c.id) for c in exchange.claimed], limit
            )
        self.claims.update(claimed.id for claimed in exchange.claimed)
        self.lost += len(exchange.lost)
        self._left = list(exchange.left)
        return list(exchange.claimed)

    async def work(self, told: asyncio.Event) -> None:
        """Work until told to end, and then until nothing is left that is due."""
        chance = random.Random(self.id)
        settlements: list[Settlement] = []
        while True:
            last = told.is_set()
            if last:
                self._lanes = Lanes()  # from the start, for what was committed late
            claimed = await self.claim(*settlements)
            if not claimed and not settlements and last:
                return
            settlements = [*self._left, *(self._judge(each, chance) for each in claimed)]
            if not claimed:
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        await self._claimer.close()

    def done(self, claimed: Claimed) -> Settlement:
        """The settlement of a job that succeeded."""
        return Finish(id=claimed.id, claim=claimed.claim, status="done", age=0.0)

    def _judge(self, claimed: Claimed, chance: random.Random) -> Settlement:
        if chance.random() < self._failing:
            return Requeue(id=claimed.id, claim=claimed.claim, kind=RequeueKind.FAILED, age=0.0)
        return self.done(claimed)
