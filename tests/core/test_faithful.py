"""What is passed is what arrives, or the enqueue refuses it: nothing becomes another value in
silence.
"""

import dataclasses
import enum
import re
from collections import Counter, OrderedDict, defaultdict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, Generic, NamedTuple, NotRequired, TypedDict, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import msgspec
import pytest

from soniq import InvalidArguments, InvalidOption, SerializationError, Soniq, hookimpl
from soniq.plugin import Serializer
from tests.conftest import MakeApp

NAN, INFINITY = float("nan"), float("inf")
T = TypeVar("T")


@dataclasses.dataclass
class Shape:
    name: str


@dataclasses.dataclass
class Circle(Shape):
    radius: float = 1.0


class Base(msgspec.Struct):
    name: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Base) and self.name == other.name


class Derived(Base):
    extra: int = 0


class Tree(msgspec.Struct):
    value: float | None = None
    children: list["Tree"] = []


class Box(msgspec.Struct, Generic[T]):
    content: T


class Cat(msgspec.Struct, tag=True):
    name: str


class Lion(Cat, tag=True):
    mane: bool = True


class Dog(msgspec.Struct, tag=True):
    name: str


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Point(NamedTuple):
    x: float
    y: float | None = None


class Payment(msgspec.Struct):
    amount: int
    dry_run: bool = False


@dataclasses.dataclass
class Transfer:
    amount: int
    dry_run: bool = False


@dataclasses.dataclass
class Batch:
    transfers: list[Transfer]
    by_name: dict[str, Transfer] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Stop:
    name: str
    floor: int = 0


class Route(msgspec.Struct, frozen=True):
    stops: frozenset[Stop]
    ways: tuple[Stop, ...] = ()
    next: "Route | None" = None


class Fixed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    stop: Stop


class Rows(msgspec.Struct, frozen=True, array_like=True):
    stop: Stop
    floor: int = 0


class Bus(msgspec.Struct, frozen=True, tag="bus"):
    stop: Stop


class Tram(msgspec.Struct, frozen=True, tag="tram"):
    line: str


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    __slots__ = ()


ODD_ZONE = timezone(timedelta(hours=1, seconds=7))

REFUSED: list[tuple[Any, Any, str]] = [
    (Any, NAN, "'value'.*nan is not a number that JSON has, and would arrive as None"),
    (Any, INFINITY, "'value'.*inf is not a number"),
    (float | None, NAN, "'value'.*nan"),
    (float, NAN, "'value'"),
    (list[float | None], [1.0, -INFINITY], r"'value\[1\]'.*-inf"),
    (dict[str, float | None], {"a": NAN}, r"'value\.a'.*nan"),
    (dict[str, Any], {"a": [{"b": NAN}]}, r"'value\.a\[0\]\.b'.*nan"),
    (tuple[float | None, ...], (NAN,), r"'value\[0\]'.*nan"),
    (set[float | None], {NAN}, "'value'.*NaN"),
    (Tree, Tree(None, [Tree(NAN)]), r"'value\.children\[0\]\.value'.*nan"),
    (Point, Point(1.0, NAN), r"'value\[1\]'.*nan"),
    (Shape, Circle("c", 2.0), "'value'.*a value of type Circle would arrive as a Shape"),
    (list[Shape], [Shape("a"), Circle("c")], r"'value\[1\]'.*Circle would arrive as a Shape"),
    (dict[str, Shape | None], {"a": Circle("c")}, r"'value\.a'.*Circle would arrive as a Shape"),
    (Base, Derived("c", 2), "'value'.*Derived would arrive as a Base"),
    (Box[Base], Box(Derived("c", 2)), r"'value\.content'.*Derived would arrive as a Base"),
    (Box[Base], Box[Base](Derived("c", 2)), r"'value.*Derived would arrive as a Base"),
    (Cat | Dog, Lion("c"), r"'value\.type'.*'Lion'"),
    (Movie, {"title": "M", "genre": "x"}, r"'value\.genre'.*no such key"),
    (
        Movie,
        {"title": "M", "yaer": 1927},
        r"'value\.yaer'.*did you mean 'title'|'value\.yaer'.*no such key",
    ),
    (
        Payment,
        {"amount": 5, "dryrun": True},
        r"'value\.dryrun'.*Payment has no such field; did you mean 'dry_run'\?",
    ),
    (
        Transfer,
        {"amount": 5, "dryrun": True},
        r"'value\.dryrun'.*Transfer has no such field; did you mean 'dry_run'\?",
    ),
    (
        Batch,
        {"transfers": [{"amount": 5, "dryrun": True}]},
        r"'value\.transfers\[0\]\.dryrun'.*no such field",
    ),
    (str, b"x", "'value'.*bytes would arrive as a str"),
    (bytes, "abcd", "'value'.*str would arrive as bytes|'value'.*type str would arrive as a bytes"),
    (str, datetime(2026, 1, 2, tzinfo=UTC), "'value'.*datetime would arrive as a str"),
    (str, UUID(int=1), "'value'.*UUID would arrive as a str"),
    (str, Colour.RED, "'value'.*Colour would arrive as a str"),
    (
        Any,
        datetime(2026, 1, 2, tzinfo=UTC),
        "'value'.*datetime would arrive as a str; annotate it with its type",
    ),
    (Any, timedelta(1), "'value'.*timedelta would arrive as a str"),
    (Any, b"x", "'value'.*bytes would arrive as a str"),
    (Any, Colour.RED, "'value'.*Colour would arrive as a str"),
    (Any, {1, 2}, "'value'.*set would arrive as a list"),
    (Any, Shape("a"), "'value'.*Shape would arrive as a dict"),
    (Any, {1: "a"}, r"'value\.1'.*the key 1: a value of type int would arrive as a str"),
    (dict, {1: "a"}, "the key 1"),
    (dict[str, Any], {"at": date(2026, 1, 2)}, r"'value\.at'.*date would arrive as a str"),
    (
        float,
        2**53 + 1,
        "'value'.*9007199254740993 would arrive as|'value'.*int would arrive as a float",
    ),
    (datetime, datetime(2026, 1, 2, tzinfo=ODD_ZONE), "'value'.*would arrive as"),
    (time, time(2, 30, tzinfo=ZoneInfo("Europe/Paris")), "'value'.*would arrive as"),
    (list[int], {1, 2}, "'value'.*set would arrive as a list"),
    (float, Fraction(1, 3), "'value'.*Fraction would arrive as a float"),
]

WITH_MORE = {"name": "a", "flor": 1}
IN_SETS: list[tuple[Any, Any, str]] = [
    (set[Stop], [WITH_MORE], "value[0].flor"),
    (frozenset[Stop], [{"name": "a"}, WITH_MORE], "value[1].flor"),
    (dict[str, set[Stop]], {"a": [WITH_MORE]}, "value.a[0].flor"),
    (list[set[Stop] | None], [None, [WITH_MORE]], "value[1][0].flor"),
    (set[tuple[int, Stop]], [[1, WITH_MORE]], "value[0][1].flor"),
    (set[tuple[Stop, ...]], [[], [WITH_MORE]], "value[1][0].flor"),
    (frozenset[frozenset[Stop]], [[WITH_MORE]], "value[0][0].flor"),
    (Route, {"stops": [WITH_MORE]}, "value.stops[0].flor"),
    (Route, {"stops": [], "next": {"stops": [WITH_MORE]}}, "value.next.stops[0].flor"),
    (set[Route], [{"stops": [], "ways": [WITH_MORE]}], "value[0].ways[0].flor"),
    (set[Fixed], [{"stop": WITH_MORE}], "value[0].stop.flor"),
    (set[Rows], [[{"name": "a"}, 1, 2]], "value[0][2]"),
    (set[Rows], [[WITH_MORE]], "value[0][0].flor"),
    (set[Bus | Tram], [{"type": "bus", "stop": WITH_MORE}], "value[0].stop.flor"),
    (set[Bus | Tram], [{"type": "tram", "line": "1", "stop": {}}], "value[0].stop"),
    (set[Bus], [{"type": "bus", "stop": {"name": "a"}, "stp": 1}], "value[0].stp"),
]
"""Types, values with a field that the type does not have, and the place of it."""

KEPT: list[tuple[Any, Any, Any]] = [
    (set[Stop], [{"name": "a"}, {"name": "b", "floor": 2}], {Stop("a"), Stop("b", 2)}),
    (set[Stop], {Stop("a"), Stop("b", 2)}, {Stop("a"), Stop("b", 2)}),
    (set[Bus | Tram], [{"type": "tram", "line": "1"}], {Tram("1")}),
    (Route, Route(frozenset({Stop("a")}), next=Route(frozenset())),
     Route(frozenset({Stop("a")}), next=Route(frozenset()))),
    (Transfer, {"amount": 5, "dry_run": True}, Transfer(5, True)),
    (Transfer, {"amount": 5}, Transfer(5)),
    (Batch, {"transfers": [{"amount": 5}]}, Batch([Transfer(5)])),
    (Movie, {"title": "M"}, {"title": "M"}),
    (Box[Base], Box(Base("b")), Box(Base("b"))),
    (Cat | Dog, Dog("d"), Dog("d")),
    (Cat | Dog, {"type": "Dog", "name": "d"}, Dog("d")),
    (datetime, "2026-01-02T00:00:00+02:00", datetime(2026, 1, 1, 22, tzinfo=UTC)),
    (datetime, datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris")),
     datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
    (UUID, str(UUID(int=1)), UUID(int=1)),
    (dict[UUID, int], {str(UUID(int=1)): 2}, {UUID(int=1): 2}),
    (Decimal, "1.10", Decimal("1.10")),
    (Decimal, 1.5, Decimal("1.5")),
    (Colour, "red", Colour.RED),
    (Level, 1, Level.LOW),
    (int, Level.LOW, 1),
    (str, Text("a"), "a"),
    (float, 3, 3.0),
    (list[int], (1, 2), [1, 2]),
    (tuple[int, ...], [1, 2], (1, 2)),
    (set[int], [1, 2], {1, 2}),
    (set[UUID], [str(UUID(int=1))], {UUID(int=1)}),
    (Any, (1, (2,)), [1, [2]]),
    (Any, OrderedDict(a=1), {"a": 1}),
    (dict[str, int], Counter("aab"), {"a": 2, "b": 1}),
    (dict[str, list[int]], defaultdict(list, a=[1]), {"a": [1]}),
    (list[float], [1.5, 2, -0.0], [1.5, 2.0, 0.0]),
]  # fmt: skip


def echo(app: Soniq, name: str, kind: Any, received: list[object]) -> str:
    async def job(value: Any) -> None:
        received.append(value)

    job.__annotations__["value"] = kind
    return app.job(name=name)(job).name


async def test_what_would_arrive_as_another_value_is_refused_naming_job_parameter_and_place(
    app: Soniq,
) -> None:
    names = [echo(app, f"job-{place}", kind, []) for place, (kind, _, _) in enumerate(REFUSED)]
    for name, (_, value, said) in zip(names, REFUSED, strict=True):
        with pytest.raises(InvalidArguments, match=f"^{name}: the argument.*{said}") as caught:
            await app.enqueue(name, value=value)
        assert caught.value.job == name
        with pytest.raises(InvalidArguments, match=said):
            await app.enqueue_many(name, [{"value": value}])
    assert await app.jobs() == []


async def test_a_value_that_cannot_be_compared_is_refused(app: Soniq) -> None:
    class Lazy(list[int]):
        def __iter__(self) -> Any:
            raise LookupError("not loaded")

    @app.job(name="take")
    async def take(value: list[int]) -> None: ...

    with pytest.raises(
        InvalidArguments, match=r"'value'.* it cannot be compared: LookupError: not"
    ):
        await app.enqueue(take, Lazy([1]))


async def test_a_value_in_the_form_that_json_has_for_it_is_taken(app: Soniq) -> None:
    received: list[list[object]] = [[] for _ in KEPT]
    names = [
        echo(app, f"job-{place}", kind, received[place]) for place, (kind, _, _) in enumerate(KEPT)
    ]
    for name, (_, value, _) in zip(names, KEPT, strict=True):
        await app.enqueue(name, value=value)
    await app.run_worker(run_once=True)
    for (kind, value, expected), got in zip(KEPT, received, strict=True):
        assert got == [expected], (kind, value)
        assert type(got[0]) is type(expected), (kind, value)


async def test_a_number_that_is_none_is_refused_for_a_job_of_another_service(
    make_app: MakeApp,
) -> None:
    app = make_app(unknown_jobs="allow")
    with pytest.raises(
        InvalidArguments, match=r"elsewhere: the argument 'a\[0\]': nan is not a number"
    ):
        await app.enqueue("elsewhere", args={"a": [NAN]})
    with pytest.raises(InvalidArguments, match=r"'a\.value': nan"):
        await app.enqueue("elsewhere", args={"a": Tree(NAN)})
    await app.enqueue(
        "elsewhere",
        args={"a": datetime(2026, 1, 2, tzinfo=UTC), "b": (1,), "c": {2}, "d": Shape("x")},
    )


async def test_a_stored_field_that_a_type_does_not_have_waits_for_other_code_and_is_not_dropped(
    app: Soniq, connection: "asyncpg.Connection[Any]"
) -> None:
    ran: list[object] = []

    @app.job(name="pay")
    async def pay(batch: Batch, movie: Movie | None = None) -> None:
        ran.append(batch)

    payloads = {
        '{"batch": {"transfers": [{"amount": 1, "dryrun": true}]}}': "batch.transfers[0].dryrun",
        '{"batch": {"transfers": [], "by_name": {"a": {"amount": 1, "dryrun": true}}}}': (
            "batch.by_name.a.dryrun"
        ),
        '{"batch": {"transfers": []}, "movie": {"title": "M", "genre": "x"}}': "movie.genre",
    }
    ids = {}
    for payload, place in payloads.items():
        query = f"select {app.settings.schema}.enqueue('pay', $1::jsonb)"
        await app.start()
        ids[str(await connection.fetchval(query, payload))] = place
    await app.run_worker(run_once=True)
    for job_id, place in ids.items():
        status = await app.get_job_status(job_id)
        assert status is not None
        assert (status["status"], status["attempt"]) == ("queued", 0)
        assert status["error"] is not None
        assert status["error"]["message"] == f"pay takes no argument '{place}' here"
    assert ran == []
    await app.enqueue(pay, Batch([Transfer(1)], {"a": Transfer(2)}), {"title": "M"})
    await app.run_worker(run_once=True)
    assert ran == [Batch([Transfer(1)], {"a": Transfer(2)})]


async def test_a_field_that_a_type_inside_a_set_does_not_have_is_refused_and_says_where(
    app: Soniq,
) -> None:
    for number, (kind, value, place) in enumerate(IN_SETS):
        name = echo(app, f"job-{number}", kind, [])
        said = (
            re.escape(f"{name}: the argument {place!r}") + ".* there is no such field in its type"
        )
        with pytest.raises(InvalidArguments, match=said):
            await app.enqueue(name, value=value)
    assert await app.jobs() == []


async def test_a_stored_field_that_a_type_inside_a_set_does_not_have_waits_for_other_code(
    app: Soniq, connection: "asyncpg.Connection[Any]"
) -> None:
    await app.start()
    received: list[object] = []
    places = {}
    for number, (kind, value, place) in enumerate(IN_SETS):
        name = echo(app, f"job-{number}", kind, received)
        query = f"select {app.settings.schema}.enqueue($1, $2::jsonb)"
        args = msgspec.json.encode({"value": value}).decode()
        places[str(await connection.fetchval(query, name, args))] = place
    await app.run_worker(run_once=True)
    for job_id, place in places.items():
        status = await app.get_job_status(job_id)
        assert status is not None
        assert status["error"] is not None
        assert (status["status"], status["attempt"]) == ("queued", 0)
        assert f"takes no argument {place!r} here" in status["error"]["message"]
    assert received == []


async def test_arguments_written_as_json_lose_no_field(app: Soniq) -> None:
    for number, (kind, value, place) in enumerate(
        [*IN_SETS, (Transfer, {"amount": 1, "dryrun": True}, "value.dryrun")]
    ):
        name = echo(app, f"job-{number}", kind, [])
        with pytest.raises(InvalidArguments, match=re.escape(f"{name}: the argument {place!r}")):
            await app.load_arguments(name, msgspec.json.encode({"value": value}), serializer="json")


# --- headers and keys ----------------------------------------------------------------------------


async def test_headers_that_would_arrive_as_other_values_are_refused_and_say_where(
    app: Soniq,
) -> None:
    name = echo(app, "send", Any, [])
    nested: list[Any] = []
    for _ in range(3_000):
        nested = [nested]
    refused: dict[str, Any] = {
        "'a': nan is not a number": {"a": NAN, "b": "x"},
        r"'a\.b\[0\]': inf": {"a": {"b": [INFINITY]}},
        "'at': a value of type datetime would arrive as a str": {
            "at": datetime(2026, 1, 2, tzinfo=UTC)
        },
        r"'a\.1': the key 1": {"a": {1: 2}},
        "(recursion|nested too deeply)": {"a": nested},
        "take 70,008 bytes; the limit is 65,536": {"a": "x" * 70_000},
        "take 80,008 bytes; the limit is 65,536": {"a": "ä" * 40_000},
    }
    for said, headers in refused.items():
        with pytest.raises(InvalidOption, match=f"^send: headers=.*{said}") as caught:
            await app.enqueue(name, None, headers=headers)
        assert caught.value.option == "headers"
        with pytest.raises(InvalidOption, match=said):
            await app.enqueue_many(name, [{"value": None}], headers=headers)
    assert await app.jobs() == []
    await app.enqueue(name, None, headers={"a": [1, None, 2.5, {"b": True}], "c": "d"})


async def test_a_number_that_is_none_makes_no_key(app: Soniq) -> None:
    name = echo(app, "send", float | None, [])
    with pytest.raises(
        SerializationError,
        match=r"send: unique=True needs .*the argument 'value': nan is not a number",
    ):
        await app.enqueue(name, NAN, unique=True)
    assert await app.jobs() == []


class Whole:
    """Keeps values as they are: `loads` gives what was dumped in this process."""

    name = "whole"

    def __init__(self) -> None:
        self._values: list[object] = []

    def dumps(self, value: object) -> bytes:
        self._values.append(value)
        return str(len(self._values) - 1).encode()

    def loads(self, data: bytes, type: Any) -> Any:
        value = self._values[int(data)]
        return type(**value) if isinstance(value, dict) and type is not Any else value


class WholePlugin:
    @hookimpl
    def serializers(self) -> list[Serializer]:
        return [Whole()]


async def test_a_serializer_that_keeps_all_may_and_two_subclasses_are_not_the_same_job(
    make_app: MakeApp,
) -> None:
    app = make_app(plugins=[WholePlugin()])
    received: list[object] = []

    @app.job(name="draw", serializer="whole", unique=True)
    async def draw(shape: Shape) -> None:
        received.append(shape)

    ids = [await app.enqueue(draw, Circle("c", radius)) for radius in (1.0, 2.0, 1.0)]
    assert [each.inserted for each in ids] == [True, True, False]
    await app.run_worker(run_once=True)
    assert sorted(received, key=str) == [Circle("c", 1.0), Circle("c", 2.0)]
    number = echo(app, "number", float | None, received)
    await app.enqueue(number, NAN, serializer="whole")
    await app.run_worker(run_once=True)
    assert str(received[-1]) == "nan"


# --- results -------------------------------------------------------------------------------------

RESULTS: list[tuple[Any, object, str]] = [
    (Shape, Circle("c", 2.0), "Circle would arrive as a Shape"),
    (list[Shape], [Circle("c", 2.0)], "[0]: a value of type Circle would arrive as a Shape"),
    (float | None, NAN, "nan is not a number"),
    (Any, NAN, "nan is not a number"),
    (Any, {"a": [NAN]}, "a[0]: nan is not a number"),
    (Any, Tree(NAN), "value: nan is not a number"),
    (Any, [datetime(2026, 1, 2, tzinfo=ODD_ZONE)], "[0]: datetime.datetime(2026, 1, 2"),
    (dict[str, float | None], {"a": NAN}, "a: nan is not a number"),
    (Movie, {"title": "M", "genre": "x"}, "genre: there is no such key"),
    (str, b"x", "bytes would arrive as a str"),
]


def returning(app: Soniq, name: str, kind: Any, value: object) -> str:
    async def job() -> Any:
        return value

    job.__annotations__["return"] = kind
    return app.job(name=name, max_attempts=1)(job).name


async def test_a_result_that_would_be_read_as_another_value_is_not_kept_and_what_is_wrong_is_said(
    app: Soniq, caplog: pytest.LogCaptureFixture
) -> None:
    names = [
        returning(app, f"job-{place}", kind, value)
        for place, (kind, value, _) in enumerate(RESULTS)
    ]
    ids = [await app.enqueue(name) for name in names]
    await app.run_worker(run_once=True)
    for name, job_id, (_, _, said) in zip(names, ids, RESULTS, strict=True):
        assert await app.get_result(job_id) is None
        assert f"{name}: the result cannot be stored as" in caplog.text
        assert said in caplog.text


async def test_a_result_loses_no_field_inside_a_set(
    app: Soniq, caplog: pytest.LogCaptureFixture
) -> None:
    places = {}
    for number, (kind, value, place) in enumerate(IN_SETS):
        name = returning(app, f"job-{number}", kind, value)
        places[await app.enqueue(name)] = place.removeprefix("value").lstrip(".")
    await app.run_worker(run_once=True)
    for job_id, place in places.items():
        assert await app.get_result(job_id) is None
        assert f"{place}: there is no such field in its type" in caplog.text


async def test_a_result_that_other_code_stored_with_more_fields_is_not_read_without_them(
    app: Soniq, make_app: MakeApp
) -> None:
    value = {"name": "a", "floor": 1, "lift": True}
    kinds: list[tuple[Any, object, str]] = [
        (Stop, value, "lift"),
        (list[Stop], [value], "[0].lift"),
        (set[Stop], [value], "[0].lift"),
        (Movie, {"title": "M", "genre": "x"}, "genre"),
    ]
    older = make_app(schema=app.settings.schema)
    for number, (kind, stored, place) in enumerate(kinds):
        job_id = await app.enqueue(returning(app, f"job-{number}", Any, stored))
        await app.run_worker(run_once=True)
        returning(older, f"job-{number}", kind, None)
        said = f"the result of job-{number} has a field that its type does not have here: {place!r}"
        for read in (older.get_result, older.get_job_status, older.wait_for):
            with pytest.raises(SerializationError, match=re.escape(said)):
                await read(job_id)
        assert await app.get_result(job_id) == stored


async def test_a_result_without_an_annotation_is_kept_in_the_form_that_json_has_for_it(
    app: Soniq,
) -> None:
    value = {
        "at": date(2026, 1, 2),
        "shape": Circle("c"),
        "pair": (1, 2),
        "level": Level.LOW,
        "set": {1},
    }
    job_id = await app.enqueue(returning(app, "job", Any, value))
    await app.run_worker(run_once=True)
    kept = {
        "at": "2026-01-02",
        "shape": {"name": "c", "radius": 1.0},
        "pair": [1, 2],
        "level": 1,
        "set": [1],
    }
    assert await app.get_result(job_id) == kept
