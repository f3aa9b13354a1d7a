"""The gauges of the queues: what the elected worker sampled last."""

import asyncio
from collections.abc import Iterator
from typing import NoReturn
from weakref import WeakKeyDictionary

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from soniq import QueueBacklog, Soniq

from . import names
from .telemetry import Attributes, Telemetry

EMPTY = QueueBacklog(waiting=0, scheduled=0, running=0, held=0, oldest_waiting=0.0)

Sample = tuple[Attributes, dict[str, QueueBacklog]]


class Gauges:
    """The two gauges of a meter provider, and the last samples of the apps that report to it."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.samples: dict[Soniq, Sample] = {}
        telemetry.meter.create_observable_gauge(names.QUEUE_JOBS, [self._jobs], "{job}", "Jobs that are not finished.")
        telemetry.meter.create_observable_gauge(
            names.QUEUE_OLDEST, [self._oldest], "s", "Time for which the oldest waiting job has been due."
        )

    def _jobs(self, options: CallbackOptions) -> Iterator[Observation]:
        for attributes, backlog in self._queues():
            counts = {"waiting": backlog["waiting"], "scheduled": backlog["scheduled"]}
            counts |= {"running": backlog["running"], "held": backlog["held"]}
            for state, count in counts.items():
                yield Observation(count, {**attributes, names.QUEUE_STATE: state})

    def _oldest(self, options: CallbackOptions) -> Iterator[Observation]:
        for attributes, backlog in self._queues():
            yield Observation(backlog["oldest_waiting"], attributes)

    def _queues(self) -> Iterator[tuple[Attributes, QueueBacklog]]:
        for server, queues in list(self.samples.values()):  # an exporter's thread asks
            for queue, backlog in queues.items():
                yield {names.SYSTEM: "soniq", names.DESTINATION: queue, **server}, backlog


_gauges: WeakKeyDictionary[MeterProvider, Gauges] = WeakKeyDictionary()
"""The gauges of each provider: it asks only the first of a name, so the apps of a process share them."""


async def sample(telemetry: Telemetry, app: Soniq, server: Attributes, interval: float) -> NoReturn:
    """Sample the queues each `interval` seconds; the last sample is reported until this is cancelled, or fails."""
    gauges: Gauges | None = None
    seen: dict[str, QueueBacklog] = {}
    try:
        while True:
            if gauges is None and telemetry.measuring:
                gauges = _gauges.get(telemetry.meter_provider) or Gauges(telemetry)
                _gauges[telemetry.meter_provider] = gauges
            if gauges is not None:
                backlog = await app.backlog()
                where = {**server, names.SCHEMA: app.settings.schema}
                gauges.samples[app] = where, {**seen, **backlog}
                seen |= dict.fromkeys(backlog, EMPTY)  # a queue that is empty later is reported as empty
            await asyncio.sleep(interval)
    finally:
        if gauges is not None:
            gauges.samples.pop(app, None)
