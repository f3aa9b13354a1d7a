"""A small app: three jobs, and a producer. Run the producer, then the worker, as often as you like
and in any order:

    python -m examples.app
    soniq worker examples.app:eq

Both use SONIQ_DATABASE_URL, or the embedded PostgreSQL where soniq-embedded is installed.
"""

import asyncio
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum

import asyncpg

from soniq import JobContext, Retry, Soniq

eq = Soniq()


class Currency(StrEnum):
    EUR = "EUR"
    USD = "USD"


@dataclass
class Line:
    text: str
    price: Decimal
    count: int = 1


@dataclass
class Invoice:
    total: Decimal
    currency: Currency
    due: datetime


@eq.job(queue="billing")
async def make_invoice(
    customer: str, lines: list[Line], currency: Currency, due: datetime
) -> Invoice:
    """Typed arguments: checked at the enqueue, decoded here; the result comes back as an
    `Invoice`.
    """
    return Invoice(
        total=sum((line.price * line.count for line in lines), Decimal(0)),
        currency=currency,
        due=due,
    )


@eq.job(max_attempts=3)
async def ask_bank(account: str, ctx: JobContext) -> str:
    """A retry that the handler asks for, after a time of its choice. An exception is retried as
    well, by itself.
    """
    if ctx.attempt < 3:
        raise Retry(delay=0.2 + random.uniform(0, 0.2))
    return f"{account}: fine, at attempt {ctx.attempt}"


@eq.job()
async def book(account: str, amount: Decimal, connection: asyncpg.Connection) -> None:
    """An injected connection: the row and the job's completion are one transaction, so it is booked
    exactly once.
    """
    await connection.execute(
        "insert into example_booking (account, amount) values ($1, $2)", account, amount
    )


async def main() -> None:
    """Enqueue one of each."""
    async with eq:
        async with eq.connection() as connection:
            await connection.execute(
                "create table if not exists example_booking (account text, amount numeric)"
            )
        lines = [Line("coffee", Decimal("3.20"), 2), Line("cake", Decimal("4.50"))]
        jobs = [
            await eq.enqueue(
                make_invoice,
                "Ada",
                lines,
                currency=Currency.EUR,
                due=datetime(2030, 1, 31, tzinfo=UTC),
            ),
            await eq.enqueue(ask_bank, "DE02"),
            await eq.enqueue(book, "DE02", Decimal("10.90")),
        ]
        print(*jobs, sep="\n")


if __name__ == "__main__":
    asyncio.run(main())
