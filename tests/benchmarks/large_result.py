"""A large result through a real worker process and back: memory and speed. `python -m
tests.benchmarks.large_result`.

A job streams a gigabyte to files and to an S3 server on loopback (moto's); another process reads it
with `get_result(stream=True)`. Printed are how far the peak memory of each process rose above what
it used before, and megabytes per second, hashing and generating included. Peaks are read from
/proc: Linux only.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg

from soniq import Soniq
from soniq_results import ResultsPlugin
from tests.benchmarks.server import server
from tests.benchmarks.usage import MEGABYTE, measured

SCHEMA = "bench_large_result"
ROOT = Path(__file__).parent.parent.parent


def make_app(arguments: argparse.Namespace) -> Soniq:
    plugin = ResultsPlugin(arguments.store, threshold=0)
    app = Soniq(arguments.database, schema=arguments.schema, discover=False, plugins=[plugin])

    @app.job(name="large", max_attempts=1)
    async def large(megabytes: int) -> AsyncIterator[bytes]:
        block = os.urandom(MEGABYTE)
        for number in range(megabytes):
            yield number.to_bytes(8) + block[8:]

    return app


async def work(arguments: argparse.Namespace) -> dict[str, Any]:
    """One worker that runs what is due."""
    figures: dict[str, Any] = {}
    async with make_app(arguments) as app:
        with measured(figures):
            await app.run_worker(run_once=True)
    return figures


async def read(arguments: argparse.Namespace) -> dict[str, Any]:
    """Read the result of a job piece by piece."""
    figures: dict[str, Any] = {"size": 0}
    digest = hashlib.sha256()
    async with make_app(arguments) as app:
        with measured(figures):
            stream = await app.get_result(arguments.job, stream=True)
            assert stream is not None, "the job has no result"
            async for piece in stream:
                figures["size"] += len(piece)
                digest.update(piece)
    return figures


def role(arguments: argparse.Namespace, name: str, **more: str) -> dict[str, Any]:
    """What another process measures in this role."""
    options = {
        "database": arguments.database,
        "schema": arguments.schema,
        "store": arguments.store,
        **more,
    }
    command = [sys.executable, "-m", "tests.benchmarks.large_result", "--role", name]
    command += [word for option, value in options.items() for word in (f"--{option}", value)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """A result to the store and back."""
    async with make_app(arguments) as app:
        job = await app.enqueue("large", megabytes=arguments.megabytes)
    worker = await asyncio.to_thread(role, arguments, "work")
    reader = await asyncio.to_thread(role, arguments, "read", job=job)
    async with make_app(arguments) as app:
        await app.prune(older_than=0)
    return {
        "store": arguments.store,
        "size": reader.pop("size"),
        "worker": worker,
        "reader": reader,
    }


def shown(figures: dict[str, Any]) -> str:
    size = figures["size"] / MEGABYTE
    parts = [
        f"{name} {size / each['seconds']:5.0f} MB/s, peak memory"
        f" +{each['growth'] / MEGABYTE:.0f} MB"
        for name, each in (("worker", figures["worker"]), ("reader", figures["reader"]))
    ]
    return f"{figures['store'].split(':')[0]:5} {size:5.0f} MB: {'; '.join(parts)}"


@contextlib.contextmanager
def s3() -> Iterator[str]:
    """The URL of a bucket of an S3 server in a process of its own, to which the environment
    leads.
    """
    import boto3

    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    environment = {
        **os.environ,
        "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": "1024",
    }  # on disk, not in memory
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            endpoint = next(
                found[0] for line in process.stderr if (found := re.search(r"http://\S+:\d+", line))
            )
            drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
            os.environ.update(
                AWS_ENDPOINT_URL=endpoint, AWS_ALLOW_HTTP="true", AWS_REGION="us-east-1",
                AWS_ACCESS_KEY_ID="bench", AWS_SECRET_ACCESS_KEY="bench",
            )  # fmt: skip
            client: Any = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
            client.create_bucket(Bucket="bench")
            yield "s3://bench"
        finally:
            process.terminate()
    drain.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--store", help="a URL; default: files, then S3 on loopback")
    parser.add_argument("--database", default=os.environ.get("SONIQ_TEST_DATABASE_URL"))
    parser.add_argument("--schema", default=SCHEMA)
    parser.add_argument(
        "--json", action="store_true", help="print the figures of one store as JSON"
    )
    parser.add_argument("--role", choices=("work", "read"), help=argparse.SUPPRESS)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role:
        print(json.dumps(asyncio.run((work if arguments.role == "work" else read)(arguments))))
    elif arguments.json:
        print(json.dumps(asyncio.run(measure(arguments))))
    else:
        both(arguments)


def both(arguments: argparse.Namespace) -> None:
    """Files, then S3, on a server of the benchmarks."""
    with contextlib.ExitStack() as stack:
        arguments.database = arguments.database or stack.enter_context(server())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="soniq-bench-"))
        for store in (
            [arguments.store]
            if arguments.store
            else [f"file://{folder}", stack.enter_context(s3())]
        ):
            arguments.store = store
            asyncio.run(drop(arguments))
            print(shown(asyncio.run(measure(arguments))), flush=True)


async def drop(arguments: argparse.Namespace) -> None:
    connection = await asyncpg.connect(arguments.database)
    await connection.execute(f"drop schema if exists {arguments.schema} cascade")
    await connection.execute(f"drop schema if exists {arguments.schema}_results cascade")
    await connection.close()


if __name__ == "__main__":
    main()
