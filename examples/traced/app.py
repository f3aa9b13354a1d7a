"""A small shop, in which one job leads to another. It names no plugin: those that are installed are
on.

    soniq worker examples.traced.app:eq
    python -m examples.traced.app

`examples.traced.observed` is the same with OpenTelemetry and Sentry set up, where they are
installed.
"""

import asyncio

from soniq import JobFailed, JobId, Soniq

eq = Soniq()

PRICES = {"tea": 4, "cake": 5}


@eq.job()
async def order(customer: str, items: dict[str, int]) -> JobId:
    """The first job leads to the second: its result is the id of that."""
    return await eq.enqueue(
        print_invoice, customer, [f"{count} x {item}" for item, count in items.items()]
    )


@eq.job()
async def print_invoice(customer: str, lines: list[str]) -> str:
    """A result of some size: a page for each line."""
    return "\f".join(f"{customer}\n\n{line}\n".ljust(2_000, ".") for line in lines)


@eq.job(max_attempts=1)
async def charge(customer: str, amount: int) -> None:
    """A job that is dead."""
    raise ConnectionError("the bank does not answer")


async def main() -> None:
    """Enqueue an order and a charge, and show what comes of them."""
    async with eq:
        ordered = await eq.enqueue(order, "Ada", {"tea": 2, "cake": 1})
        charged = await eq.enqueue(charge, "Ada", 2 * PRICES["tea"] + PRICES["cake"])
        invoice = await eq.wait_for(await eq.wait_for(ordered, timeout=60), timeout=60)
        print(f"an invoice of {len(invoice)} characters for {invoice.splitlines()[0]}")
        try:
            await eq.wait_for(charged, timeout=60)
        except JobFailed as error:
            print(f"the charge failed: {error.error_message}")


if __name__ == "__main__":
    asyncio.run(main())
