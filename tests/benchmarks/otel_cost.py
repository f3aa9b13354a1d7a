"""What soniq-otel costs: jobs enqueued and processed per second without it, with it but no SDK, and
with the SDK.

`python -m tests.benchmarks.otel_cost`. Absolute figures move with the machine; the ratios count.
Each figure is the median of several rounds, in which the three take turns. The SDK has a batch
processor and an exporter that throws away.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from statistics import median

import asyncpg
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from soniq import Job, Soniq
from soniq_otel import OtelPlugin
from tests.benchmarks.server import server

SCHEMA = "bench_otel"
WITHOUT, SILENT, RECORDING = "without the plugin", "with it, no SDK", "with it and the SDK"


class NullExporter(SpanExporter):
    """Throws spans away."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class Bench:
    """An app on a schema of its own, with these plugins."""

    def __init__(self, url: str, *plugins: object) -> None:
        self._url = url
        self.app = Soniq(database_url=url, schema=SCHEMA, discover=False, plugins=plugins)
        self.noop: Job[[int], object] = self.app.job(name="noop")(noop)

    async def measure(self, jobs: int) -> tuple[float, float]:
        """Jobs per second: enqueued by 50 tasks at once, and processed."""
        connection = await asyncpg.connect(self._url)
        await connection.execute(f"drop schema if exists {SCHEMA} cascade")
        await connection.close()
        await self.app.start()
        few = jobs // 10
        began = time.perf_counter()
        await asyncio.gather(*(self._enqueue(few // 50) for _ in range(50)))
        enqueued = few / (time.perf_counter() - began)
        await self.app.enqueue_many(self.noop, [{"number": number} for number in range(jobs - few)])
        began = time.perf_counter()
        count = await self.app.run_worker(run_once=True)
        processed = count / (time.perf_counter() - began)
        await self.app.close()
        return enqueued, processed

    async def _enqueue(self, count: int) -> None:
        for number in range(count):
            await self.app.enqueue(self.noop, number)


async def noop(number: int) -> int:
    return number


async def main(url: str, rounds: int, jobs: int) -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(NullExporter()))
    meters = MeterProvider([InMemoryMetricReader()])
    benches = {
        WITHOUT: Bench(url),
        SILENT: Bench(url, OtelPlugin()),
        RECORDING: Bench(url, OtelPlugin(tracer_provider=provider, meter_provider=meters)),
    }
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in benches}
    for number in range(rounds + 1):
        order = list(benches) if number % 2 == 0 else list(reversed(benches))
        for name in order:
            measured = await benches[name].measure(jobs)
            if number > 0:  # the first round warms up
                figures[name].append(measured)
    print(f"Python {sys.version.split()[0]}, {rounds} rounds of {jobs:,} jobs\n")
    print(f"{'':<22}{'enqueued':>12}{'ratio':>8}{'processed':>14}{'ratio':>8}   processed from to")
    base = [median(column) for column in zip(*figures[WITHOUT], strict=True)]
    for name, rows in figures.items():
        enqueued, processed = zip(*rows, strict=True)
        print(
            f"{name:<22}{median(enqueued):>10,.0f}/s{median(enqueued) / base[0]:>8.3f}"
            f"{median(processed):>12,.0f}/s{median(processed) / base[1]:>8.3f}"
            f"   {min(processed):,.0f} to {max(processed):,.0f}"
        )
    provider.shutdown()
    meters.shutdown()
    connection = await asyncpg.connect(url)
    await connection.execute(f"drop schema if exists {SCHEMA} cascade")
    await connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--jobs", type=int, default=50_000, help="how many are processed in each round"
    )
    arguments = parser.parse_args()
    with server() as url:
        asyncio.run(main(url, arguments.rounds, arguments.jobs))
