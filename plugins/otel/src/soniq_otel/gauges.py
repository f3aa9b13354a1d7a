"""The gauges of the queues: what the elected worker sampled last."""

import asyncio
from collections.abc import Iterator
from typing import Literal, NoReturn
from weakref import WeakKeyDictionary

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from soniq import QueueBacklog, Soniq

from . import names
from .telemetry import Attributes, Telemetry

EMPTY = QueueBacklog(waiting=0, scheduled=0, running=0, held=0, oldest_waiting=0.0)
EMPTY_FOR = 4
"""Samples in which a queue that has become empty is still reported; then it is forgotten."""

STATES: tuple[Literal["waiting", "scheduled", "running", "held"], ...] = (
    "waiting",
    "scheduled",
    "running",
    "held",
)

Sample = tuple[Attributes, dict[str, QueueBacklog]]


class Gauges:
    """The two gauges of a meter provider, and the last samples of the apps that report to it."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.samples: dict[Soniq, Sample] = {}
        telemetry.meter.create_observable_gauge(
            names.QUEUE_JOBS, [self._jobs], "{job}", "Jobs that are not finished."
        )
        about = "Time for which the oldest waiting job has been due."
        telemetry.meter.create_observable_gauge(names.QUEUE_OLDEST, [self._oldest], "s", about)

    def _jobs(self, options: CallbackOptions) -> Iterator[Observation]:
        for attributes, backlog in self._queues():
            for state in STATES:
                yield Observation(backlog[state], {**attributes, names.QUEUE_STATE: state})

    def _oldest(self, options: CallbackOptions) -> Iterator[Observation]:
        for attributes, backlog in self._queues():
            yield Observation(backlog["oldest_waiting"], attributes)

    def _queues(self) -> Iterator[tuple[Attributes, QueueBacklog]]:
        for server, queues in list(self.samples.values()):  # an exporter's thread asks
            for queue, backlog in queues.items():
                yield {names.SYSTEM: "soniq", names.DESTINATION: queue, **server}, backlog


_gauges: WeakKeyDictionary[MeterProvider, Gauges] = WeakKeyDictionary()
"""The gauges of each provider, which asks only the first of a name: the apps share them."""


def largest(backlog: dict[str, QueueBacklog]) -> dict[str, QueueBacklog]:
    """The queues with the most jobs, and what the others hold in sum, as one queue `_OTHER`."""
    if len(backlog) <= names.MOST:
        return backlog

    ranked = sorted(backlog, key=lambda queue: -sum(backlog[queue][state] for state in STATES))
    others = [backlog[queue] for queue in ranked[names.MOST :]]
    summed = QueueBacklog(
        waiting=sum(each["waiting"] for each in others),
        scheduled=sum(each["scheduled"] for each in others),
        running=sum(each["running"] for each in others),
        held=sum(each["held"] for each in others),
        oldest_waiting=max(each["oldest_waiting"] for each in others),
    )
    return {**{queue: backlog[queue] for queue in ranked[: names.MOST]}, names.OTHER: summed}


async def sample(telemetry: Telemetry, app: Soniq, server: Attributes, interval: float) -> NoReturn:
    """Sample the queues each `interval` seconds.

    The last sample is reported until this is cancelled, or fails.
    """
    gauges: Gauges | None = None
    left: dict[str, int] = {}
    try:
        while True:
            if gauges is None and telemetry.measuring:
                gauges = _gauges.get(telemetry.meter_provider) or Gauges(telemetry)
                _gauges[telemetry.meter_provider] = gauges

            if gauges is not None:
                backlog = await app.backlog()
                where = {**server, names.SCHEMA: app.settings.schema}
                left = {queue: n - 1 for queue, n in left.items() if n > 1}
                left |= dict.fromkeys(backlog, EMPTY_FOR + 1)
                gauges.samples[app] = where, largest({**dict.fromkeys(left, EMPTY), **backlog})
            await asyncio.sleep(interval)
    finally:
        if gauges is not None:
            gauges.samples.pop(app, None)
