"""`check_plugin` sees what works on asyncpg's connections alone."""

from collections.abc import Sequence
from typing import Any

import pytest

from soniq import hookimpl
from soniq.plugin import EnqueueBatch, Outcome, TransactionConnection
from soniq_testing import ContractError, check_plugin


class Only:
    """Writes in `settle_tx` with what only asyncpg's connections have."""

    name = "only"

    @hookimpl
    async def settle_tx(self, tx: Any, outcomes: Sequence[Outcome]) -> None:
        await tx.executemany("select $1::text", [(outcome.job_name,) for outcome in outcomes])


class Everywhere:
    """The same with what every connection has."""

    name = "everywhere"

    @hookimpl
    async def settle_tx(self, tx: TransactionConnection, outcomes: Sequence[Outcome]) -> None:
        await tx.execute(
            "select * from unnest($1::text[])", [outcome.job_name for outcome in outcomes]
        )


class Enqueues:
    """Uses the connection of an enqueue call, which may be of another driver."""

    name = "enqueues"

    @hookimpl
    async def around_enqueue(self, batch: EnqueueBatch) -> Any:
        if batch.connection is not None:
            await batch.connection.fetchval("select 1")  # type: ignore[attr-defined]
        yield


async def test_a_settle_tx_that_needs_asyncpg_is_found(database_url: str) -> None:
    with pytest.raises(ContractError) as found:
        await check_plugin(Only(), database_url=database_url)
    logged, ended = found.value.findings
    assert "settle_tx of only failed" in logged
    assert ended.startswith(
        "a job that is completed in a transaction of another driver: dead at attempt 1"
    )
    assert "'Foreign' object has no attribute 'executemany'" in ended


async def test_a_hook_around_an_enqueue_that_needs_asyncpg_is_found(database_url: str) -> None:
    with pytest.raises(ContractError, match="'Foreign' object has no attribute 'fetchval'"):
        await check_plugin(Enqueues(), database_url=database_url)


async def test_one_that_uses_what_every_connection_has_is_fine(database_url: str) -> None:
    await check_plugin(Everywhere(), database_url=database_url)
