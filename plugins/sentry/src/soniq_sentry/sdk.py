"""The Sentry SDK as one interface: version 2, with transactions or streamed spans, and version 3.

Which of them it is depends on the options that `sentry_sdk.init` was given, so each call looks.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal
from uuid import uuid4

import sentry_sdk
from sentry_sdk import Scope, traces, tracing_utils
from sentry_sdk.transport import AsyncHttpTransport
from sentry_sdk.types import Event, Hint
from sentry_sdk.utils import event_from_exception

ORIGIN = "auto.queue.soniq"
PROCESS, PUBLISH = "queue.process", "queue.publish"

ONLY_STREAMS = not hasattr(sentry_sdk, "start_transaction")
"""Whether it is version 3, which has no transactions."""

Status = Literal["ok", "cancelled", "aborted", "deadline_exceeded", "internal_error"]
"""How an attempt ended, as transactions say it; a streamed span knows ok and error."""


class Span:
    """The span of a publish or an attempt. Without `spans`, what it is told is forgotten."""

    def __init__(self, *spans: Any) -> None:
        self._spans = spans

    def set(self, data: Mapping[str, str | int | float]) -> None:
        """Set what the Queues page reads, on the innermost span."""
        for span in self._spans[:1]:
            for name, value in data.items():
                span.set_attribute(name, value) if streams() else span.set_data(name, value)

    def end(self, status: Status) -> None:
        """Set how it ended."""
        for span in self._spans:
            if streams():
                span.status = "ok" if status in ("ok", "cancelled") else "error"
            else:
                span.set_status(status)


def active() -> bool:
    """Whether `sentry_sdk.init` was called."""
    return sentry_sdk.get_client().is_active()


def streams() -> bool:
    """Whether spans are streamed, and not collected in transactions."""
    return ONLY_STREAMS or tracing_utils.has_span_streaming_enabled(sentry_sdk.get_client().options)


@contextmanager
def attempt(name: str, headers: dict[str, str], sampling: dict[str, Any]) -> Iterator[Span]:
    """The spans of an attempt, in the trace that `headers` continue.

    `sampling` is for the user's traces_sampler.
    """
    if not tracing_utils.has_tracing_enabled(sentry_sdk.get_client().options):
        continue_trace(headers)
        yield Span()  # nobody would see spans, and they take half of the time

    elif streams():
        continue_trace(headers)
        Scope.set_custom_sampling_context(sampling)
        attributes = _attributes(PROCESS, **{"sentry.segment.name.source": "task"})
        with traces.start_span(name, attributes, parent_span=None) as span:
            yield Span(span)

    else:
        begun = sentry_sdk.continue_trace(
            headers, op="queue.task.soniq", name=name, source="task", origin=ORIGIN
        )
        with (
            sentry_sdk.start_transaction(begun, custom_sampling_context=sampling) as transaction,
            sentry_sdk.start_span(op=PROCESS, name=name, origin=ORIGIN) as span,
        ):
            yield Span(span, transaction)


@contextmanager
def publish(name: str) -> Iterator[Span]:
    """The span of an enqueue, where it has a parent.

    Its scope is its own: enqueues may overlap in one task's scope.
    """
    streaming = streams()

    if (traces if streaming else sentry_sdk).get_current_span() is None:
        yield Span()
    elif streaming:
        with sentry_sdk.new_scope(), traces.start_span(name, _attributes(PUBLISH)) as span:
            yield Span(span)
    else:
        with (
            sentry_sdk.new_scope(),
            sentry_sdk.start_span(op=PUBLISH, name=name, origin=ORIGIN) as span,
        ):
            yield Span(span)


def headers() -> dict[str, str]:
    """What continues the current trace elsewhere; there is one without an active span, too."""
    found = {"sentry-trace": sentry_sdk.get_traceparent(), "baggage": sentry_sdk.get_baggage()}
    return {name: value for name, value in found.items() if value}


def continue_trace(headers: dict[str, str]) -> None:
    """Go on in the trace of `headers`, or in a new one where they are empty."""
    sentry_sdk.get_isolation_scope().generate_propagation_context(headers)
    if streams():  # which look at the current scope before; transactions have nothing there
        sentry_sdk.get_current_scope().generate_propagation_context(headers)


def describe_always(processor: Callable[[Event, Hint], Event | None]) -> None:
    """Have every event of the process go through a function, once."""
    scope = sentry_sdk.get_global_scope()
    if processor not in scope._event_processors:
        scope.add_event_processor(processor)


@contextmanager
def unsampled() -> Iterator[None]:
    """A trace of its own, of which nothing is sent."""
    with sentry_sdk.isolation_scope(), sentry_sdk.new_scope():
        continue_trace({"sentry-trace": f"{uuid4().hex}-{uuid4().hex[:16]}-0"})
        yield


def arguments_allowed() -> bool:
    """Whether the options let the arguments of jobs go out.

    In version 2 that is send_default_pii, else data_collection.
    """
    return bool(sentry_sdk.get_client().options["data_collection"]["queues"])


def event_of(error: BaseException) -> tuple[Event, Hint]:
    """An error as an event that nobody handled, and the hint that goes along."""
    options: dict[str, Any] = {}
    if not ONLY_STREAMS:
        options["client_options"] = sentry_sdk.get_client().options
    return event_from_exception(error, mechanism={"type": "soniq", "handled": False}, **options)


async def flush() -> None:
    """Wait for what is on its way, for at most the option shutdown_timeout."""
    client = sentry_sdk.get_client()
    if isinstance(client.transport, AsyncHttpTransport):
        await client.flush_async()
    else:
        await asyncio.to_thread(client.flush)


def _attributes(op: str, **more: str) -> dict[str, Any]:
    return {"sentry.op": op, "sentry.origin": ORIGIN, **more}
