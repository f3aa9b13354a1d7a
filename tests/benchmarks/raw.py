"""The yardstick: a raw asyncpg loop with no features, on a table of its own.

It keeps finished rows and their results, decodes and encodes JSON with msgspec, and settles and
claims in one statement in batches of 500 with a cursor, so that what it leaves out is what Soniq
adds: hooks, types, contexts, retries, leases, fencing, timeouts, dedup, lanes, history.
"""

import asyncio
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec

SCHEMA = "bench_raw"

SETUP = f"""
drop schema if exists {SCHEMA} cascade;
create schema {SCHEMA};
create table {SCHEMA}.job (
    id uuid primary key, name text not null, status text not null default 'queued',
    args bytea not null, result bytea,
    scheduled_at timestamptz not null default statement_timestamp()
);
create index on {SCHEMA}.job (scheduled_at, id) where status = 'queued';
"""

INSERT = f"insert into {SCHEMA}.job (id, name, args) values ($1, $2, $3)"

CLAIM = f"""
with done as (
    update {SCHEMA}.job set status = 'done', result = d.result
    from unnest($1::uuid[], $2::bytea[]) as d (id, result) where job.id = d.id
    returning 1
), picked as (
    select id from {SCHEMA}.job where status = 'queued' and scheduled_at <= now()
        and (scheduled_at, id) > ($4::timestamptz, $5::uuid)
    order by scheduled_at, id limit $3 for update skip locked
)
update {SCHEMA}.job set status = 'running' from picked where job.id = picked.id
returning job.id, job.name, job.args, job.scheduled_at
"""

START = (datetime(1970, 1, 1, tzinfo=UTC), uuid.UUID(int=0))

encode = msgspec.json.encode
decode = msgspec.json.decode


async def noop(number: int) -> int:
    return number


class Raw:
    """The loop, and the ways to put jobs in."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def setup(self) -> None:
        """Make the table afresh."""
        connection = await asyncpg.connect(self._url)
        await connection.execute(SETUP)
        await connection.close()

    async def one_by_one(self, count: int) -> float:
        """Insert one after the other; jobs per second."""
        connection = await asyncpg.connect(self._url)
        began = time.perf_counter()
        for number in range(count):
            await connection.execute(INSERT, uuid.uuid4(), "noop", encode({"number": number}))
        took = time.perf_counter() - began
        await connection.close()
        return count / took

    async def at_once(self, tasks: int, each: int) -> float:
        """Many tasks that insert one by one, on a pool of 20; jobs per second."""
        pool = await asyncpg.create_pool(self._url, min_size=20, max_size=20)

        async def insert() -> None:
            for number in range(each):
                await pool.execute(INSERT, uuid.uuid4(), "noop", encode({"number": number}))

        began = time.perf_counter()
        await asyncio.gather(*(insert() for _ in range(tasks)))
        took = time.perf_counter() - began
        await pool.close()
        return tasks * each / took

    async def bulk(self, count: int) -> float:
        """Insert by COPY; jobs per second."""
        connection = await asyncpg.connect(self._url)
        began = time.perf_counter()
        records = [(uuid.uuid4(), "noop", encode({"number": number})) for number in range(count)]
        await connection.copy_records_to_table(
            "job", schema_name=SCHEMA, records=records, columns=["id", "name", "args"]
        )
        took = time.perf_counter() - began
        await connection.close()
        return count / took

    async def process(self, batch: int = 500) -> float:
        """Work off all; jobs per second."""
        connection = await asyncpg.connect(self._url)
        for setting in ("seqscan", "bitmapscan", "sort", "hashjoin", "mergejoin"):
            await connection.execute(f"set enable_{setting} = off")
        statement = await connection.prepare(CLAIM)
        began, count = time.perf_counter(), 0
        ids: list[Any] = []
        results: list[bytes] = []
        place = START
        while True:
            rows = await statement.fetch(ids, results, batch, *place)
            ids, results = [], []
            if not rows:
                break
            for row in rows:
                results.append(encode(await noop(**decode(row["args"]))))
                ids.append(row["id"])
            place = (rows[-1]["scheduled_at"], rows[-1]["id"])
            count += len(rows)
        took = time.perf_counter() - began
        await connection.close()
        return count / took

    async def pick_up(self, count: int) -> list[float]:
        """Milliseconds from just before an insert with NOTIFY until the job has been claimed, on an
        idle loop.
        """
        listener, producer = await asyncpg.connect(self._url), await asyncpg.connect(self._url)
        heard = asyncio.Event()
        await listener.add_listener("bench_raw", lambda *_: heard.set())
        claim = await listener.prepare(CLAIM)
        place, times = START, []
        for number in range(count):
            heard.clear()
            began = time.perf_counter()
            await producer.execute(INSERT, uuid.uuid4(), "noop", encode({"number": number}))
            await producer.execute("select pg_notify('bench_raw', '')")
            await heard.wait()
            rows = await claim.fetch([], [], 10, *place)
            times.append((time.perf_counter() - began) * 1000)
            place = (rows[-1]["scheduled_at"], rows[-1]["id"])
            await claim.fetch([row["id"] for row in rows], [row["args"] for row in rows], 0, *place)
            await asyncio.sleep(0.01)
        await listener.close()
        await producer.close()
        return times
