"""The rounds of a comparison: in each, all queues take turns at each measurement."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.apart import empty_database
from tests.benchmarks.queues.catalogue import MEASUREMENTS, Entry, Measurement, jobs_of
from tests.benchmarks.queues.results import Results

if TYPE_CHECKING:
    from tests.benchmarks.queues.redis_server import Redis

DATABASE = "soniq_bench_queue"
LIMIT = 600
"""Seconds that one measurement of one queue may take."""

GRAPHILE = Path(__file__).with_name("graphile.mjs")


class MeasurementError(Exception):
    """A queue's process failed, or took too long."""


class Turns:
    """Measures queues in processes of their own, each time on an empty database or Redis."""

    def __init__(self, url: str, redis: "Redis | None", modules: Path) -> None:
        self._url = url
        self._redis = redis
        self._modules = modules

    def round(self, queues: Sequence[Entry], jobs: int, results: Results) -> None:
        """One turn of each at each measurement. A queue that fails sits out this measurement."""
        for measurement in MEASUREMENTS:
            for entry in queues:
                if measurement.name in entry.lacks or results.failed(measurement.name, entry.name):
                    continue
                count = jobs_of(entry, measurement, jobs)
                began = time.monotonic()
                try:
                    values = self._measure(entry, measurement, count)
                except MeasurementError as error:
                    if entry.name == "soniq":
                        raise
                    results.fail(measurement.name, entry.name, str(error))
                    print(f"  {measurement.name:<10}{entry.name:<17}failed: {error}", flush=True)
                    continue
                results.add(measurement.name, entry.name, count, values)
                took = time.monotonic() - began
                print(f"  {measurement.name:<10}{entry.name:<17}{took:6.1f} s", flush=True)

    def _measure(self, entry: Entry, measurement: Measurement, count: int) -> list[float]:
        arguments = [measurement.name, str(count)]
        if entry.name == "celery":
            assert self._redis, "Celery was not left out"
            self._redis.empty()
            return _values(_python(entry, arguments), self._redis.url)
        with empty_database(self._url, DATABASE) as url:
            if entry.module == "graphile":
                script = self._modules / GRAPHILE.name  # Node.js looks for packages beside it
                script.write_bytes(GRAPHILE.read_bytes())
                return _values(["node", str(script), *arguments], url)
            return _values(_python(entry, arguments), url)


def _python(entry: Entry, arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.queues", entry.module, *arguments]


def _values(command: list[str], url: str) -> list[float]:
    """What a process prints, which is ended with all that it started, and its temporary files."""
    with tempfile.TemporaryDirectory(prefix="soniq-bench-") as folder:
        process = subprocess.Popen(
            command, env={**os.environ, "BENCH_URL": url, "TMPDIR": folder},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            output, errors = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            raise MeasurementError(f"it took longer than {LIMIT} s") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        said = errors.strip().splitlines() or [f"it ended with {process.returncode}"]
        raise MeasurementError(said[-1])
    return [float(value) for value in json.loads(output)]
