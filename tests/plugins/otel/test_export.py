"""One flow, through each of the real exporters to a real receiver."""

from collections.abc import Callable

import pytest

from soniq import Soniq

from .backend import MakeBackend, Protocol


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_a_backend_receives_the_spans_and_metrics_of_two_jobs_as_one_trace(
    make_backend: MakeBackend, traced: Callable[..., Soniq], protocol: Protocol
) -> None:
    backend = make_backend(protocol)
    app = traced(tracer_provider=backend.tracer_provider, meter_provider=backend.meter_provider)

    @app.job(name="ship", queue="goods")
    async def ship(number: int) -> None:
        if number == 2:
            raise LookupError("not in stock")

    @app.job(name="order", queue="orders")
    async def order() -> None:
        await app.enqueue_many(ship, [{"number": 1}, {"number": 2}])

    await app.enqueue(order)
    await app.run_worker(run_once=True)
    spans = backend.spans()
    names = [(each.name, each.kind) for each in spans]
    assert sorted(names) == [
        ("create goods", "PRODUCER"),
        ("create goods", "PRODUCER"),
        ("process goods", "CONSUMER"),
        ("process goods", "CONSUMER"),
        ("process orders", "CONSUMER"),
        ("send goods", "CLIENT"),
        ("send orders", "PRODUCER"),
    ]
    assert len({each.place[0] for each in spans}) == 1
    assert {each.schema_url for each in spans} == {"https://opentelemetry.io/schemas/1.44.0"}
    (failed,) = [each for each in spans if each.status == "ERROR"]
    assert (failed.name, failed.description, failed.attributes["error.type"]) == (
        "process goods",
        "not in stock",
        "LookupError",
    )
    assert {each.place for each in backend.spans("create")} == set(backend.span("send goods").links)
    (sent_goods,) = [
        each
        for each in backend.points("messaging.client.sent.messages")
        if each.attributes["messaging.destination.name"] == "goods"
    ]
    assert sent_goods.value == 2
