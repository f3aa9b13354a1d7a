"""Sentry's side: a transport that records what is sent, as bytes, and Relay's normalizer over all
of it.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import sentry_sdk
from sentry_relay.processing import StoreNormalizer
from sentry_sdk.envelope import Envelope, Item

Mode = Literal["static", "stream"]

MODES: tuple[Mode, ...] = (
    ("static", "stream") if hasattr(sentry_sdk, "start_transaction") else ("stream",)
)
"""What the installed SDK can do: version 2 has transactions and streamed spans, version 3 only
these.
"""

VERSION_3 = "static" not in MODES


class Span(NamedTuple):
    """A span, whichever way it came."""

    op: str
    name: str
    trace: str
    id: str
    parent: str | None
    status: str | None
    service: bool
    """Whether it is a transaction, or a service span."""
    data: Mapping[str, Any]


class Backend(sentry_sdk.Transport):
    """Takes envelopes in place of Sentry, and what they hold once Relay has looked at it."""

    def __init__(self) -> None:
        super().__init__({"dsn": None})
        self.envelopes: list[bytes] = []
        self.limits: list[float] = []  # of the flushes, in seconds

    def capture_envelope(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope.serialize())

    def flush(self, timeout: float, callback: object = None) -> None:
        self.limits.append(timeout)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Errors and messages."""
        return [normalized(_json(item)) for item in self._items("event")]

    @property
    def event(self) -> dict[str, Any]:
        """The only one."""
        (event,) = self.events
        return event

    @property
    def transactions(self) -> list[dict[str, Any]]:
        return [normalized(_json(item)) for item in self._items("transaction")]

    def spans(self, op: str) -> list[Span]:
        """The spans of an op, in the order in which they ended."""
        found = [span for transaction in self.transactions for span in _of_transaction(transaction)]
        found += [_streamed(each) for item in self._items("span") for each in _json(item)["items"]]
        return [span for span in found if span.op == op]

    def span(self, op: str) -> Span:
        """The only one."""
        (span,) = self.spans(op)
        return span

    def _items(self, kind: str) -> list[Item]:
        sentry_sdk.flush()  # streamed spans wait to be sent together
        return [
            item
            for data in self.envelopes
            for item in Envelope.deserialize(data).items
            if item.headers["type"] == kind
        ]


def normalized(payload: dict[str, Any]) -> dict[str, Any]:
    """An event or a transaction as Relay passes it on. It may have nothing to complain about."""
    event: dict[str, Any] = StoreNormalizer(project_id=1).normalize_event(payload)
    assert not event.get("errors"), event["errors"]
    assert not complaints(event.get("_meta")), event["_meta"]
    return event


def complaints(meta: Any) -> list[Any]:
    """The errors that Relay notes beside a field."""
    if not isinstance(meta, dict):
        return []
    own = [meta[""]["err"]] if "err" in (meta.get("") or {}) else []
    return own + [found for value in meta.values() for found in complaints(value)]


def exceptions(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The chain of an event's exceptions, its own last."""
    values: list[dict[str, Any]] = event["exception"]["values"]
    return values


def _json(item: Item) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(item.payload.get_bytes())
    return payload


def _of_transaction(transaction: Mapping[str, Any]) -> list[Span]:
    trace = transaction["contexts"]["trace"]
    spans = [
        Span(
            s["op"],
            s["description"],
            s["trace_id"],
            s["span_id"],
            s["parent_span_id"],
            s.get("status"),
            False,
            s["data"] or {},
        )
        for s in transaction["spans"]
    ]
    root = Span(
        trace["op"], transaction["transaction"], trace["trace_id"], trace["span_id"],
        trace.get("parent_span_id"), trace.get("status"), True, trace.get("data") or {},
    )  # fmt: skip
    return [*spans, root]


def _streamed(span: Mapping[str, Any]) -> Span:
    for name, attribute in span["attributes"].items():
        assert _type_of(attribute["value"]) == attribute["type"], f"{name}: {attribute}"
    data = {name: attribute["value"] for name, attribute in span["attributes"].items()}
    return Span(
        data.get("sentry.op", ""), span["name"], span["trace_id"], span["span_id"],
        span.get("parent_span_id"), span["status"], span["is_segment"], data,
    )  # fmt: skip


def _type_of(value: object) -> str:
    names = {bool: "boolean", int: "integer", float: "double", str: "string", list: "array"}
    return names[type(value)]
