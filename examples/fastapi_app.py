"""A FastAPI service: an order and its invoice in one transaction, a page that says how far the
invoice is, and a report at times that each customer chooses.

    pip install fastapi uvicorn soniq-schedules
    uvicorn examples.fastapi_app:api
    soniq worker examples.fastapi_app:eq

Both use SONIQ_DATABASE_URL, or the embedded PostgreSQL where soniq-embedded is installed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from soniq import InvalidJobId, InvalidOption, JobContext, Soniq
from soniq_schedules import Cron, Schedules, Tick

eq = Soniq()


class Order(BaseModel):
    customer: str
    amount: int


class Times(BaseModel):
    cron: str
    tz: str


@eq.job(queue="invoices", tags=["invoice"])
async def make_invoice(order_id: int, ctx: JobContext) -> str:
    """Makes an invoice in some steps, and says how far it is."""
    for step in range(3):
        await ctx.progress(step / 3, step=step)
        await asyncio.sleep(0.01)
    return f"invoice of order {order_id}"


@eq.job()
async def make_report(customer: str, tick: Tick) -> str:
    """Makes a report of the time at which it was due, also where it comes late."""
    return f"report of {customer} for {tick.at:%Y-%m-%d}"


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """The app is started with the service and closed with it."""
    async with eq:
        async with eq.connection() as connection:
            await connection.execute(
                "create table if not exists example_order (id serial primary key, customer"
                " text, amount int)"
            )
        yield


api = FastAPI(lifespan=lifespan)


@api.post("/orders", status_code=202)
async def order(order: Order) -> dict[str, Any]:
    """Both are there, or neither: the order, and the job that makes its invoice."""
    async with eq.connection() as connection, connection.transaction():
        order_id = await connection.fetchval(
            "insert into example_order (customer, amount) values ($1, $2) returning id",
            order.customer,
            order.amount,
        )
        if order.amount <= 0:
            raise HTTPException(422, "an order has an amount")  # rolls back both
        job_id = await eq.enqueue(make_invoice, order_id=order_id, connection=connection)
    return {"order": order_id, "job": job_id}


@api.get("/jobs/{job_id}")
async def job(job_id: str) -> dict[str, Any]:
    """How a job stands."""
    try:
        status = await eq.get_job_status(job_id)
    except InvalidJobId as error:
        raise HTTPException(422, str(error)) from error
    if status is None:
        raise HTTPException(404, "there is no such job")
    return {"status": status["status"], "result": status["result"], "progress": status["progress"]}


@api.put("/customers/{customer}/report")
async def report(customer: str, times: Times) -> dict[str, Any]:
    """When the customer gets reports: a schedule in the database, added or changed."""
    try:
        when = Cron(times.cron, tz=times.tz)
    except InvalidOption as error:
        raise HTTPException(422, str(error)) from error
    schedules = eq.plugin(Schedules)
    await schedules.add(f"report-{customer}", make_report, when, args={"customer": customer})
    return {"next": when.upcoming(3)}
