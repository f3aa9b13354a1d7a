"""Two small shops: price lists that are imported in their order, orders that are written together
with their mail, mails at a rate, and a report each night.

    make shop                          installs what it needs; where that is done:
    python -m examples.shop
    soniq worker examples.shop:eq      more workers, if you like: limits hold for all together

SONIQ_DATABASE_URL chooses another database, SHOP_FOLDER where price lists, mails and reports are.
"""

import asyncio
import csv
import os
import time
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from email.message import EmailMessage
from pathlib import Path

import asyncpg

from soniq import JobContext, JobId, Soniq
from soniq_limits import AllOf, Rate, Sequence
from soniq_schedules import Cron, Schedules, Tick

eq = Soniq()

FOLDER = Path(os.environ.get("SHOP_FOLDER", "shop-files")).resolve()
TABLES = """
create table if not exists shop_item (shop text, item text, price numeric,
    stock int check (stock >= 0), primary key (shop, item));
create table if not exists shop_order (shop text, customer text, item text, price numeric,
    placed timestamptz default now());
"""
SET_PRICE = """
insert into shop_item (shop, item, price, stock) values ($1, $2, $3, $4)
on conflict (shop, item) do update set price = excluded.price, stock = excluded.stock
"""
ORDER = """
insert into shop_order (shop, customer, item, price)
select shop, $2, item, price from shop_item where shop = $1 and item = $3
"""
TAKE = "update shop_item set stock = stock - 1 where shop = $1 and item = $2"
REPORT = """
select shop, count(*), sum(price) from shop_order where placed >= $1 and placed < $2
group by shop order by shop
"""


# In the order of the uploads: with Limit(1, by="shop") the next list could overtake one that failed
# and is tried again, which then writes old prices over new ones.
@eq.job(Sequence(by="shop"))
async def import_prices(shop: str, path: str, db: asyncpg.Connection) -> None:
    """The prices and the job's completion are one transaction: all of a list, once, or nothing."""
    text = await asyncio.to_thread(Path(path).read_text)
    lines = csv.reader(text.splitlines())
    rows = [(shop, item, Decimal(price), int(stock)) for item, price, stock in lines]
    await db.executemany(SET_PRICE, rows)
    print(f"  {Path(path).name}: {len(rows)} prices")


# The provider takes 20 mails in 2 seconds, and one shop sends half of them at most: its campaign
# keeps no mail of the other waiting.
@eq.job(AllOf(Rate(20, per=2, name="mails"), Rate(10, per=2, by="shop")))
def send_mail(shop: str, to: str, subject: str, ctx: JobContext) -> float:
    """A file, where others have a mail server. A job may run twice; its id says that it is one."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = f"{shop}@shops.example", to, subject
    mail["Message-ID"] = f"<{ctx.job_id}@shops.example>"
    (FOLDER / "mails" / f"{ctx.job_id}.eml").write_bytes(bytes(mail))
    return time.time()


@eq.job(Cron("0 0 * * *", tz="Europe/Berlin"))
async def report(tick: Tick, db: asyncpg.Connection) -> str:
    """The orders since the midnight before, also where that was 23 or 25 hours ago."""
    rows = await db.fetch(REPORT, tick.at - timedelta(days=1), tick.at)
    text = "".join(f"  {shop}: {orders} orders, {total}\n" for shop, orders, total in rows)
    (FOLDER / f"report-{tick.at:%Y-%m-%d}.txt").write_text(text)
    return text


async def take_order(shop: str, customer: str, item: str) -> JobId:
    """The order, its mail and the stock are one transaction: there are all three, or none."""
    async with eq.connection() as db, db.transaction():
        await db.execute(ORDER, shop, customer, item)
        mail = await eq.enqueue(send_mail, shop, customer, f"Your {item}", connection=db)
        await db.execute(TAKE, shop, item)  # refused where nothing is in stock
    return mail


def upload(shop: str, number: int) -> str:
    """A price list as a shop sends it, dearer than the one before."""
    path = FOLDER / f"{shop}-{number}.csv"
    lines = [f"cup-{n},{n + number}.50,100\n" for n in range(200)]
    path.write_text("".join([*lines, f"teapot,{19 + number}.90,2\n"]))
    return str(path)


async def main() -> None:
    """A day of the shops, with a worker in the same process."""
    (FOLDER / "mails").mkdir(parents=True, exist_ok=True)
    async with eq:
        async with eq.connection() as db:
            await db.execute(TABLES)
        worker = asyncio.create_task(eq.run_worker(concurrency=10))

        print("Each shop uploads three price lists, which are imported one after the other:")
        lists = [(shop, upload(shop, n)) for n in (1, 2, 3) for shop in ("north", "south")]
        for job in [await eq.enqueue(import_prices, *each) for each in lists]:
            await eq.wait_for(job, timeout=60)

        print("\nNorth writes to 24 customers. Then there are orders, each with its mail:")
        letters = [{"shop": "north", "to": f"{n}@example.org", "subject": "Tea"} for n in range(24)]
        mails = dict.fromkeys(await eq.enqueue_many(send_mail, letters), "north")
        for shop, name in [("north", "Ada"), ("south", "Bo"), ("north", "Cy"), ("north", "Di")]:
            try:
                mails[await take_order(shop, f"{name}@example.org", "teapot")] = shop
                print(f"  {name} orders a teapot from {shop}")
            except asyncpg.CheckViolationError:
                print(f"  {name} cannot: {shop} is sold out, and there is no order and no mail")

        times = {job: await eq.wait_for(job, timeout=60) for job in mails}
        sent = Counter((int(times[job] - min(times.values())), mails[job]) for job in mails)
        for (second, shop), count in sorted(sent.items()):
            print(f"  second {second}: {count} mails of {shop}")

        schedules = eq.plugin(Schedules)
        (night,) = (await schedules.get(report.name)).upcoming(1)
        print(f"\nThe report, which comes next at {night}, made now:")
        print(await eq.wait_for(await schedules.run_now(report.name), timeout=60), end="")

        print(f"\nPrice lists, mails and reports are in {FOLDER}")
        eq.stop_workers()
        await worker


if __name__ == "__main__":
    asyncio.run(main())
