"""Arguments and results: bound to the signature and checked at the enqueue, decoded at the worker
into their types.
"""

import dataclasses
import enum
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, NoReturn, TypedDict
from uuid import UUID

import asyncpg
import msgspec
import pytest

from soniq import (
    Cancel,
    InvalidArguments,
    JobContext,
    JobId,
    Retry,
    SerializationError,
    Snooze,
    Soniq,
)
from soniq.job.options import OPTION_NAMES
from tests.support.jobs import run_job

PARIS_ISH = timezone(timedelta(hours=1))


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Size(enum.StrEnum):
    SMALL = "s"


@dataclasses.dataclass
class Address:
    street: str
    number: int = 1


class Line(msgspec.Struct):
    sku: str
    price: Decimal
    tags: list[str] = []


class Order(msgspec.Struct):
    id: UUID
    placed: datetime
    lines: list[Line]
    ship_to: Address
    colour: Colour | None = None


class Movie(TypedDict):
    title: str
    year: int


ORDER = Order(
    id=UUID("00000000-0000-4000-8000-000000000001"),
    placed=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    lines=[Line("a", Decimal("1.10")), Line("b", Decimal("2.20"), ["x"])],
    ship_to=Address("Elm", 5),
    colour=Colour.RED,
)

VALUES: list[tuple[Any, Any]] = [
    (int, 2**80),
    (float, 0.1),
    (float, 3),
    (bool, False),
    (str, "sn\0wm\u2603n \U0001f600"),
    (str, ""),
    (bytes, b"\x00\xff"),
    (datetime, datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=PARIS_ISH)),
    (datetime, datetime(2026, 1, 2)),
    (date, date(2026, 1, 2)),
    (timedelta, timedelta(days=1, microseconds=1)),
    (UUID, UUID("00000000-0000-4000-8000-000000000001")),
    (Decimal, Decimal("0.10000000000000000000000000001")),
    (Colour, Colour.GREEN),
    (Level, Level.HIGH),
    (Size, Size.SMALL),
    (Address, Address("Elm", 5)),
    (Order, ORDER),
    (Movie, {"title": "Metropolis", "year": 1927}),
    (list[Order], [ORDER, ORDER]),
    (dict[UUID, list[Decimal]], {UUID(int=1): [Decimal("1.5")]}),
    (dict[str, Address | None], {"a": Address("Elm"), "b": None}),
    (tuple[int, str], (1, "a")),
    (set[int], {1, 2}),
    (frozenset[Colour], frozenset({Colour.RED})),
    (Decimal | None, None),
    (Decimal | None, Decimal(1)),
    (int | str, "a"),
    (Literal["a", "b"], "b"),
    (Annotated[int, msgspec.Meta(ge=1)], 1),
    (Any, {"a": [1, None, 2.5, "x", {"b": True}]}),
]


async def test_every_type_arrives_and_returns_as_its_annotation_says(app: Soniq) -> None:
    received: dict[int, object] = {}

    def define(place: int, kind: Any) -> Callable[..., Any]:
        async def echo(value: Any) -> Any:
            received[place] = value
            return value

        echo.__annotations__.update({"value": kind, "return": kind})
        return app.job(name=f"echo-{place}")(echo)

    ids = []
    for place, (kind, value) in enumerate(VALUES):
        define(place, kind)
        ids.append(await app.enqueue(f"echo-{place}", value=value))

    await app.run_worker(run_once=True)
    for place, ((kind, value), job_id) in enumerate(zip(VALUES, ids, strict=True)):
        result = await app.get_result(job_id)
        assert received[place] == value, kind
        assert result == value, kind
        assert type(received[place]) is type(result)
        if kind is not float:  # 3 is a float there
            assert type(result) is type(value), kind


async def test_a_job_without_annotations_gets_plain_json_values(app: Soniq) -> None:
    received: list[object] = []

    async def untyped(when, where=(1, 2)):  # type: ignore[no-untyped-def] # what it is about
        received.append((when, where))
        return where

    job = app.job()(untyped)
    with pytest.raises(
        InvalidArguments, match=r"'when'.* type datetime would arrive as a str; annotate it"
    ):
        await app.enqueue(job, datetime(2026, 1, 2, tzinfo=UTC))
    job_id = await app.enqueue(job, "2026-01-02")
    await app.run_worker(run_once=True)
    assert received == [("2026-01-02", [1, 2])]
    assert await app.get_result(job_id) == [1, 2]


# --- binding -------------------------------------------------------------------------------------


async def test_arguments_by_place_by_name_and_by_default_are_bound_as_in_a_call(app: Soniq) -> None:
    received: list[tuple[object, ...]] = []

    @app.job(name="send")
    async def send(
        to: str, copies: int = 1, *, urgent: bool = False, colour: Colour = Colour.RED
    ) -> None:
        received.append((to, copies, urgent, colour))

    await app.enqueue(send, "a")
    await app.enqueue(send, "b", 2)
    await app.enqueue(send, "c", copies=3, urgent=True)
    await app.enqueue(send, colour=Colour.GREEN, to="d")
    await app.enqueue("send", args={"to": "e", "urgent": True})
    await app.enqueue_many(send, [{"to": "f"}, {"to": "g", "copies": 4}])
    await app.run_worker(run_once=True, concurrency=1)
    red, green = Colour.RED, Colour.GREEN
    assert sorted(received, key=str) == [
        ("a", 1, False, red),
        ("b", 2, False, red),
        ("c", 3, True, red),
        ("d", 1, False, green),
        ("e", 1, True, red),
        ("f", 1, False, red),
        ("g", 4, False, red),
    ]


async def test_an_argument_of_a_newer_version_falls_back_to_its_default_in_old_rows(
    app: Soniq, connection: "asyncpg.Connection[Any]"
) -> None:
    received: list[object] = []

    @app.job()
    async def send(to: str, copies: int = 3) -> None:
        received.append(copies)

    await app.enqueue(send, to="a")
    await connection.execute(f"""update {app.settings.schema}.job set args = '{{"to":"a"}}'""")
    await app.run_worker(run_once=True)
    assert received == [3]


WRONG: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((), {}, "missing a required argument: 'user_id'"),
    ((), {"user_id": 1, "colour": "red", "nmae": 2}, "unexpected keyword argument 'nmae'"),
    ((1, Colour.RED, 2), {}, "too many positional arguments"),
    ((1,), {"user_id": 1}, "multiple values for argument 'user_id'"),
    (("42",), {}, r"'user_id' \(declared user_id: int\): Expected `int`, got `str`"),
    ((True,), {}, "'user_id'.*Expected `int`, got `bool`"),
    ((None,), {}, "'user_id'.*Expected `int`, got `null`; got NoneType"),
    ((float("nan"),), {}, "'user_id'"),
    ((1,), {"colour": "blue"}, "'colour'.*'blue'"),
    ((1,), {"order": {"id": "x"}}, r"'order\.id'.*UUID"),
    ((1,), {"order": dataclasses.asdict(Address("Elm"))}, "'order'.*missing required field `id`"),
    ((1,), {"share": 1.5}, "'share'.*<= 1.0"),
    ((1,), {"when": "yesterday"}, "'when'.*datetime"),
    ((1,), {"ctx": None}, "unexpected keyword argument 'ctx'"),
]


async def test_a_refusal_says_once_what_was_passed(app: Soniq) -> None:
    @app.job(name="count")
    async def count(n: int) -> None: ...

    with pytest.raises(InvalidArguments) as caught:
        await app.enqueue("count", n="42")
    assert str(caught.value).count("str") == 1


async def test_wrong_arguments_are_refused_at_the_enqueue_naming_job_and_parameter(
    app: Soniq,
) -> None:
    @app.job(name="sync_user")
    async def sync_user(
        user_id: int,
        colour: Colour = Colour.RED,
        *,
        order: Order | None = None,
        share: Annotated[float, msgspec.Meta(le=1.0)] = 0.5,
        when: datetime | None = None,
        ctx: JobContext | None = None,
    ) -> None: ...

    for args, kwargs, said in WRONG:
        with pytest.raises(InvalidArguments, match=f"^sync_user.*{said}") as caught:
            await app.enqueue(sync_user, *args, **kwargs)
        assert caught.value.job == "sync_user"
        if not args:
            with pytest.raises(InvalidArguments, match=f"^sync_user.*{said}"):
                await app.enqueue("sync_user", args=kwargs)
    for wrong in ({"user_id": "x"}, {}, {"user_id": 1, "x": 2}, 5):
        with pytest.raises(InvalidArguments, match=r"^sync_user"):
            await app.enqueue_many(sync_user, [{"user_id": 1}, wrong])  # type: ignore[list-item] # 5 is no mapping
    assert await app.jobs() == []


async def test_a_default_that_is_not_of_its_type_is_refused_like_any_argument(app: Soniq) -> None:
    async def sloppy(n: int = 0) -> None: ...

    sloppy.__defaults__ = (None,)
    with pytest.raises(InvalidArguments, match=r"'n'.*got `null`"):
        await app.enqueue(app.job()(sloppy))
    assert await app.jobs() == []


async def test_an_argument_that_cannot_be_serialized_is_refused(app: Soniq) -> None:
    @app.job(name="keep")
    async def keep(value: Any) -> None: ...

    for value in (object(), lambda: None, {1: object()}, {(1, 2): 3}, "half \ud800", 1j):
        with pytest.raises(
            SerializationError, match=r"keep: the arguments cannot be serialized \(json\)"
        ) as caught:
            await app.enqueue(keep, value)
        assert caught.value.job == "keep"
        assert caught.value.__cause__ is not None
    assert await app.jobs() == []


async def test_a_float_that_json_cannot_hold_is_refused_where_the_type_says_float(
    app: Soniq,
) -> None:
    @app.job()
    async def measure(value: float) -> None: ...

    for number in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(InvalidArguments, match="'value'"):
            await app.enqueue(measure, number)
    assert await app.jobs() == []


async def test_the_arguments_are_those_of_the_moment_of_the_enqueue(app: Soniq) -> None:
    received: list[list[int]] = []

    @app.job()
    async def total(numbers: list[int]) -> None:
        received.append(numbers)

    numbers = [1, 2]
    await app.enqueue(total, numbers)
    numbers.append(3)
    await app.run_worker(run_once=True)
    assert received == [[1, 2]]


# --- parameters with the names of options --------------------------------------------------------


async def test_a_parameter_with_the_name_of_an_option_is_refused_as_a_keyword_with_the_way_out(
    app: Soniq,
) -> None:
    received: list[object] = []

    @app.job(name="route")
    async def route(queue: str, priority: int = 0) -> None:
        received.append((queue, priority))

    with pytest.raises(
        InvalidArguments, match=r"queue= is a parameter of the job and an option.*args=\{'queue': "
    ):
        await app.enqueue(route, queue="mail")
    with pytest.raises(InvalidArguments, match="priority= is a parameter"):
        await app.enqueue(route, "mail", priority=3)
    assert await app.jobs() == []
    first = await app.enqueue(route, "mail")
    second = await app.enqueue(route, args={"queue": "mail", "priority": 3}, delay=0)
    await app.run_worker(run_once=True)
    assert sorted(received, key=str) == [("mail", 0), ("mail", 3)]
    for job_id in (first, second):
        status = await app.get_job_status(job_id)
        assert status is not None
        assert (status["queue"], status["priority"]) == ("default", 0)


OPTIONS = [
    "args", "connection", "dedup_key", "delay", "expires", "headers", "keep", "keep_dead",
    "max_attempts", "notify", "priority", "queue", "retry", "scheduled_at", "serializer", "tags",
    "timeout", "unique",
]  # fmt: skip


def test_the_list_of_option_names_is_fixed() -> None:
    assert sorted(OPTION_NAMES) == OPTIONS


async def test_every_option_is_refused_where_it_is_a_parameter_too(app: Soniq) -> None:
    names = [option for option in OPTIONS if option != "args"]
    namespace: dict[str, Any] = {}
    for name in names:
        exec(f"async def {name}_job({name}: int) -> int: return {name}", namespace)
        app.job(name=name)(namespace[f"{name}_job"])
    ids = []
    for name in names:
        with pytest.raises(
            InvalidArguments, match=f"{name}= is a parameter of the job and an option"
        ):
            await app.enqueue(name, **{name: 5})
        ids.append(await app.enqueue(name, args={name: 5}))
    await app.run_worker(run_once=True)
    assert [await app.get_result(each) for each in ids] == [5] * len(names)


async def test_parameters_named_job_self_name_or_args_are_the_jobs(app: Soniq) -> None:
    @app.job()
    async def odd(job: int, self: int, name: int, args: int = 4) -> list[int]:
        return [job, self, name, args]

    ids = [
        await app.enqueue(odd, job=1, self=2, name=3),
        await app.enqueue(odd, args={"job": 1, "self": 2, "name": 3, "args": 5}),
    ]
    await app.run_worker(run_once=True)
    assert [await app.get_result(each) for each in ids] == [[1, 2, 3, 4], [1, 2, 3, 5]]


async def test_arguments_are_given_in_one_way_only(app: Soniq) -> None:
    @app.job()
    async def add(a: int, b: int) -> None: ...

    with pytest.raises(InvalidArguments, match="in args= or directly, not both"):
        await app.enqueue(add, 1, args={"b": 2})
    with pytest.raises(InvalidArguments, match="in args= or directly, not both"):
        await app.enqueue(add, b=1, args={"a": 2})
    assert await app.jobs() == []


# --- results -------------------------------------------------------------------------------------


RETURNED: list[tuple[Any, Any]] = [
    (int | Retry, 5),
    (Retry | Cancel | Order, ORDER),
    (Snooze | None, None),
    (Annotated[Decimal | Cancel, "said"], Decimal("1.5")),
    (Cancel, None),
    (NoReturn, None),
    (None, None),
]


async def test_a_return_annotation_may_name_signals_beside_the_result(app: Soniq) -> None:
    ids = []
    for place, (annotation, _) in enumerate(RETURNED):

        async def handler(place: int) -> Any:
            return RETURNED[place][1]

        handler.__annotations__["return"] = annotation
        ids.append(await app.enqueue(app.job(name=f"handler-{place}")(handler), place))
    await app.run_worker(run_once=True)
    for job_id, (annotation, value) in zip(ids, RETURNED, strict=True):
        status = await app.get_job_status(job_id)
        assert status is not None
        assert (status["status"], status["result"]) == ("done", value), annotation
        assert type(status["result"]) is type(value)


async def test_a_result_that_is_not_of_its_type_fails_the_attempt_and_says_so(app: Soniq) -> None:
    @app.job(name="count", max_attempts=1)
    async def count() -> int:
        return "many"  # type: ignore[return-value] # the mistake itself

    status = await run_job(app, count)
    assert status["status"] == "dead"
    assert status["error"] is not None
    assert status["error"]["type"] == "soniq.errors.SerializationError"
    assert (
        "count: the result cannot be stored as <class 'int'>: Expected `int`, got `str`"
        in status["error"]["message"]
    )


@pytest.mark.parametrize("value", [object(), "half \ud800", {(1, 2): 3}])
async def test_a_result_that_nobody_declared_and_that_cannot_be_serialized_is_left_out_and_told(
    app: Soniq, caplog: pytest.LogCaptureFixture, value: object
) -> None:
    @app.job(name="make", max_attempts=1)
    async def make() -> Any:
        return value

    @app.job()
    async def neighbour() -> int:
        return 1

    job_id, other = await app.enqueue(make), await app.enqueue(neighbour)
    await app.run_worker(run_once=True)
    status = await app.get_job_status(job_id)
    assert status is not None
    assert (status["status"], status["result"], status["error"]) == ("done", None, None)
    assert "make: the result cannot be stored" in caplog.text
    assert await app.get_result(other) == 1


# --- job ids as values ---------------------------------------------------------------------------


async def test_a_job_id_may_be_an_argument_a_result_a_header_and_a_key(app: Soniq) -> None:
    received: list[object] = []

    @app.job()
    async def follow(
        one: JobId,
        text: str,
        number: UUID,
        anything: Any,
        several: list[JobId],
        ctx: JobContext,
        maybe: JobId | None = None,
    ) -> JobId:
        received.extend([one, text, number, anything, several, maybe, ctx.headers])
        return one

    @app.job()
    async def plainly(parent: str) -> str:
        return parent

    parent = await app.enqueue(plainly, parent="x")
    other = await app.enqueue(plainly, parent=parent)
    headers = {"parent": parent, parent: [parent]}
    job_id = await app.enqueue(
        follow, parent, parent, parent, {parent: parent}, [parent], headers=headers
    )
    unique = [await app.enqueue(plainly, parent=parent, unique=True) for _ in range(2)]
    assert [each.inserted for each in unique] == [True, False]
    await app.run_worker(run_once=True)
    text = str(parent)
    assert received == [
        text,
        text,
        uuid.UUID(text),
        {text: text},
        [text],
        None,
        {"parent": text, text: [text]},
    ]
    assert isinstance(received[0], JobId)
    result = await app.get_result(job_id)
    assert result == parent
    assert isinstance(result, JobId)
    assert await app.get_result(other) == text


async def test_object_says_as_much_as_no_annotation(app: Soniq) -> None:
    @app.job()
    async def echo(value: object) -> object:
        return value

    job_id = await app.enqueue(echo, value={"a": [1, "x"]})
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == {"a": [1, "x"]}
