"""Annotations that are text: this module has the future import, so that every annotation in it
is.
"""

from __future__ import annotations

import textwrap
import types
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import asyncpg
import msgspec
import pytest

from soniq import InvalidArguments, JobContext, Retry, Soniq
from soniq.errors import JobDefinitionError
from tests.conftest import MakeApp


class Price(msgspec.Struct):
    amount: Decimal


async def takes_what_is_defined_below(order: Order, c: JobContext) -> Order | Retry:
    order.price.amount += c.attempt
    return order


class Order(msgspec.Struct):
    price: Price


async def test_types_of_the_module_are_found_also_those_defined_further_down(app: Soniq) -> None:
    job = app.job()(takes_what_is_defined_below)
    with pytest.raises(InvalidArguments, match=r"'order\.price' .*got `int`$"):
        await app.enqueue(job, order={"price": 3})
    job_id = await app.enqueue(job, order=Order(Price(Decimal("1.5"))))
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == Order(Price(Decimal("2.5")))


async def test_types_of_the_enclosing_function_are_found(app: Soniq) -> None:
    class Local(msgspec.Struct):
        n: int

    received: list[object] = []

    @app.job()
    async def with_parentheses(value: Local, whatever: JobContext) -> Local:
        received.append(whatever.job_name)
        return Local(value.n + 1)

    @app.job
    async def bare(value: Local, *, whatever: JobContext) -> Local:
        received.append(whatever.job_name)
        return Local(value.n + 2)

    ids = [await app.enqueue(with_parentheses, Local(1)), await app.enqueue(bare, Local(1))]
    await app.run_worker(run_once=True)
    assert [await app.get_result(each) for each in ids] == [Local(2), Local(3)]
    assert set(received) == {with_parentheses.name, bare.name}


async def test_an_annotation_that_names_nothing_is_refused_at_first_use_and_says_what(
    app: Soniq,
) -> None:
    async def lost(value: Any) -> None: ...

    lost.__annotations__["value"] = "Nonexistent"
    app.job(name="lost")(lost)
    with pytest.raises(
        JobDefinitionError, match="lost: an annotation cannot be read: name 'Nonexistent'"
    ):
        await app.start()


@pytest.mark.parametrize(
    "text", ["a user's id", "the id of a user", "int or", "1 / 0", "{}['key']", "().missing"]
)
async def test_text_that_is_no_annotation_is_refused_at_first_use_and_names_the_job(
    make_app: MakeApp, text: str
) -> None:
    async def described(value: Any) -> None: ...

    described.__annotations__["value"] = text
    app = make_app()
    app.job(name="described")(described)
    with pytest.raises(JobDefinitionError, match="described: an annotation cannot be read: "):
        await app.start()

    @dataclass
    class Described:
        value: Any

    Described.__annotations__["value"] = text

    async def takes(value: Any) -> None: ...

    takes.__annotations__["value"] = Described
    app = make_app()
    app.job(name="takes")(takes)
    with pytest.raises(JobDefinitionError, match="takes: the annotation of the parameter value"):
        await app.start()


async def test_a_parameter_whose_name_cannot_be_stored_is_refused(app: Soniq) -> None:
    async def odd(__slots__: int = 1) -> None: ...

    app.job(name="odd")(odd)
    with pytest.raises(JobDefinitionError, match=r"odd: .* under these names \(__slots__\): "):
        await app.start()


async def by_any_name(n: int, whatever: JobContext) -> int:
    return n + whatever.attempt


async def first_of_all(context: JobContext, n: int) -> int:
    return n + context.attempt


async def as_a_union(n: int, c: JobContext | None) -> int:
    assert c is not None
    return n + c.attempt


async def with_a_default(n: int, c: JobContext | None = None) -> int:
    assert c is not None
    return n + c.attempt


async def annotated(n: int, c: Annotated[JobContext, "the attempt"]) -> int:
    return n + c.attempt


async def annotated_union(n: int, c: Annotated[JobContext | None, "the attempt"]) -> int:
    assert c is not None
    return n + c.attempt


async def union_of_annotated(n: int, *, c: Annotated[JobContext, "the attempt"] | None) -> int:
    assert c is not None
    return n + c.attempt


async def more_than_one(a: JobContext, n: int, b: JobContext) -> int:
    assert a is b
    return n + b.attempt


def in_a_thread(n: int, c: JobContext) -> int:
    return n + c.attempt


FUNCTIONS: list[Callable[..., Any]] = [
    by_any_name,
    first_of_all,
    as_a_union,
    with_a_default,
    annotated,
    annotated_union,
    union_of_annotated,
    more_than_one,
    in_a_thread,
]


async def test_the_context_is_injected_by_its_annotation(app: Soniq) -> None:
    jobs = [app.job()(function) for function in FUNCTIONS]
    ids = {job.name: [await app.enqueue(job, n=4), await app.enqueue(job, 4)] for job in jobs}
    await app.run_worker(run_once=True)
    for name, (by_name, by_place) in ids.items():
        assert (await app.get_result(by_name), await app.get_result(by_place)) == (5, 5), name


async def test_a_name_alone_is_no_reason_to_inject(app: Soniq) -> None:
    @app.job()
    async def takes(ctx: int, connection_string: str = "") -> int:
        return ctx

    job_id = await app.enqueue(takes, ctx=4)
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == 4


async def test_a_connection_is_injected_by_its_annotation(app: Soniq) -> None:
    @app.job()
    async def count(n: int, db: asyncpg.Connection | None, c: JobContext) -> int:
        assert db is not None
        assert await db.fetchval("select 1") == 1
        return n + c.attempt

    job_id = await app.enqueue(count, n=4)
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == 5


@pytest.mark.parametrize("future", ["from __future__ import annotations", ""])
async def test_old_spellings_are_understood_with_and_without_the_future_import(
    app: Soniq, future: str
) -> None:
    source = f"""
    {future}
    from typing import Annotated, List, Optional, Union
    from soniq import JobContext, Retry, Snooze

    async def old(
        ids: List[int],
        a: Optional[JobContext],
        b: "JobContext",
        c: Union[JobContext, None],
        d: Optional[Annotated[JobContext, "x"]],
        e: Annotated[Optional["JobContext"], "y"] = None,
        f: Optional["Below"] = None,
    ) -> Union[int, Retry, Snooze, None]:
        assert a is b is c is d is e
        assert f is None or isinstance(f, Below)
        return ids[0] + a.attempt

    class Below:
        pass
    """
    module = types.ModuleType("old_spellings")
    exec(textwrap.dedent(source), module.__dict__)
    job_id = await app.enqueue(app.job()(module.old), [4])
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == 5
