"""Whatever is passed: a handler gets what is equal to it, or the enqueue refused it; and so for
results.

What is equal is said here by other means than in the code: by the form that JSON has for a value,
and by its `repr`.
"""

import base64
import dataclasses
import enum
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Set
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from numbers import Integral, Real
from types import GenericAlias
from typing import Any, Generic, Literal, NamedTuple, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import numpy
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from soniq import InvalidArguments, SerializationError, Soniq
from tests.conftest import MakeApp

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    label: str | None


@dataclasses.dataclass(frozen=True)
class Labelled(Point):
    colour: str


class Box(msgspec.Struct, Generic[T]):
    content: T
    note: Any


class Special(Box[T], Generic[T]):
    more: int = 1


@attrs.define
class Address:
    street: str
    number: int


@attrs.define
class Flat(Address):
    floor: int


class Movie(TypedDict):
    title: str
    rating: float | None


class Pair(NamedTuple):
    left: int
    right: str


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


class Size(enum.StrEnum):
    SMALL = "s"


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


zones = st.sampled_from(
    [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=9))]
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
floats = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.integers(-(2**70), 2**70)
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=6)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
points = st.builds(Point, floats, st.none() | texts)
addresses = st.builds(Address, texts, st.integers(-(2**60), 2**60))
movies = st.fixed_dictionaries({"title": texts, "rating": st.none() | floats})

OWN: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, numbers),
    (float, floats),
    (bool, st.booleans()),
    (str, texts),
    (bytes, st.binary(max_size=8)),
    (bytearray, st.binary(max_size=8).map(bytearray)),
    (datetime, (st.datetimes(timezones=zones) | st.datetimes()).map(lambda at: at.replace(fold=0))),
    (date, st.dates()),
    (time, st.times().map(lambda at: at.replace(fold=0))),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (Decimal, decimals),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Size, st.sampled_from(Size)),
    (Literal["a", "b"], st.sampled_from("ab")),
    (Point, points),
    (Address, addresses),
    (Movie, movies),
    (Pair, st.builds(Pair, st.integers(-(2**60), 2**60), texts)),
    (Box[Point], st.builds(Box, points, json_values)),
    (Box[list[Decimal]], st.builds(Box, st.lists(decimals, max_size=3), json_values)),
    (Any, json_values),
    (dict, st.dictionaries(texts, json_values, max_size=3)),
    (list, st.lists(json_values, max_size=3)),
]
NESTED: list[tuple[Any, st.SearchStrategy[Any]]] = [
    *((GenericAlias(list, (kind,)), st.lists(values, max_size=12)) for kind, values in OWN),
    *((kind | None, st.none() | values) for kind, values in OWN if kind is not Any),
    *(
        (GenericAlias(dict, (str, kind)), st.dictionaries(texts, values, max_size=10))
        for kind, values in OWN
    ),
    (tuple[int, str], st.tuples(numbers, texts)),
    (tuple[Point, ...], st.lists(points, max_size=3).map(tuple)),
    (set[int], st.sets(st.integers(), max_size=3)),
    (frozenset[Point], st.frozensets(points, max_size=3)),
    (set[UUID], st.sets(st.uuids(), max_size=3)),
    (
        dict[UUID, list[Point | None]],
        st.dictionaries(st.uuids(), st.lists(st.none() | points, max_size=2), max_size=2),
    ),
    (dict[int, Decimal], st.dictionaries(st.integers(-(2**60), 2**60), decimals, max_size=2)),
    (int | str | None, st.none() | st.integers(-(2**60), 2**60) | texts),
    (
        list[list[dict[str, float]]],
        st.lists(st.lists(st.dictionaries(texts, floats, max_size=2), max_size=2)),
    ),
]
TYPES = OWN + NESTED

odd: st.SearchStrategy[Any] = st.one_of(
    st.floats(),
    st.integers(),
    texts,
    st.binary(max_size=4),
    st.decimals(),
    st.sampled_from(
        [
            Text("a"),
            Whole(3),
            Level.LOW,
            Size.SMALL,
            Colour.RED,
            None,
            True,
            2**53 + 1,
            numpy.float64("nan"),
        ]
    ),
    st.sampled_from(
        [numpy.int64(3), numpy.float32(0.5), numpy.float64(1.5), numpy.bool_(True), numpy.arange(2)]
    ),
    st.builds(Labelled, st.floats(), texts, texts),
    st.builds(Point, st.floats(), texts),
    st.builds(Special[Any], points, st.floats(), st.integers(0, 9)),
    st.builds(Special[Any], st.builds(Labelled, floats, texts, texts), json_values),
    st.builds(Flat, texts, st.integers(0, 9), st.integers(0, 9)),
    st.fixed_dictionaries({"title": texts, "rating": st.floats()}, optional={"genre": texts}),
    st.fixed_dictionaries({"x": st.floats(), "label": texts}, optional={"labell": texts}),
    st.fixed_dictionaries(
        {"street": texts, "number": st.integers(0, 9)}, optional={"floor": st.integers(0, 9)}
    ),
    st.datetimes(
        timezones=st.sampled_from(
            [timezone(timedelta(seconds=3601)), timezone(timedelta(seconds=-59))]
        )
    ),
    st.dictionaries(st.integers() | st.floats() | texts, st.floats(), max_size=2),
    st.sets(st.integers() | texts, max_size=2),
    st.tuples(st.integers(), texts),
    st.just(OrderedDict(a=1)),
)
odd |= st.lists(odd, max_size=2) | st.dictionaries(texts, odd, max_size=2)


class Unordered(list[Any]):
    """The elements of a set, which arrive in some order where they are read as a list."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and sorted(self, key=repr) == sorted(other, key=repr)

    __hash__ = None


def plain(value: Any) -> Any:
    """The form that JSON has for a value, with all that it holds, whatever type it is to be read
    as.
    """
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: plain(each) for name, each in vars(value).items()}
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if attrs.has(type(value)):
        return {each.name: plain(getattr(value, each.name)) for each in attrs.fields(type(value))}
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat() if value.tzinfo else value.isoformat()
    if isinstance(value, Mapping):
        return {as_key(key): plain(each) for key, each in value.items()}
    if isinstance(value, Set):
        return Unordered(plain(each) for each in value)
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    if isinstance(value, Decimal) and value.is_finite():
        return int(value) if value == int(value) else float(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    return value if isinstance(value, str | None) else str(value)


def as_key(key: Any) -> Any:
    """A key of a mapping, which is text in JSON; a number may be written in several ways."""
    try:
        return float(key)
    except (TypeError, ValueError):
        return str(key)


def is_form_of(passed: Any, got: Any) -> bool:
    """Whether what arrived is what was passed, where that was of a type that may be read as
    another.
    """
    one, other = plain(passed), plain(got)
    if isinstance(got, Decimal) and isinstance(passed, str):
        return Decimal(passed).compare_total(got) == 0
    return bool(one == other) or str(one) == str(other)


@pytest.fixture
def echo(make_app: MakeApp) -> "Iterator[Echo]":
    app = make_app(max_attempts=1)
    yield Echo(app)
    app.sync.close()


class Echo:
    """A job for each type, which returns what it gets, and one which returns what it is told to."""

    def __init__(self, app: Soniq) -> None:
        self.app = app
        self.received: dict[str, Any] = {}
        self.returned: dict[str, Any] = {}
        for place, (kind, _) in enumerate(TYPES):
            self._define(place, kind)

    def _define(self, place: int, kind: Any) -> None:
        async def take(key: str, value: Any) -> Any:
            self.received[key] = value
            return value

        async def give(key: str) -> Any:
            return self.returned[key]

        take.__annotations__.update({"value": kind, "return": kind})
        give.__annotations__.update({"return": kind})
        self.app.job(name=f"take-{place}")(take)
        self.app.job(name=f"give-{place}")(give)


SEVERAL = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""Some jobs of each type for an example, so that the database is asked seldom; the same ones each
time.
"""


def test_a_value_of_its_type_arrives_as_it_was_and_returns(echo: Echo) -> None:
    kept = 0

    @settings(SEVERAL, max_examples=4)
    @given(st.tuples(*(values for _, values in TYPES)))
    def check(drawn: tuple[Any, ...]) -> None:
        nonlocal kept
        ids = {
            str(place): echo.app.sync.enqueue(f"take-{place}", key=str(place), value=value)
            for place, value in enumerate(drawn)
        }
        echo.app.sync.run_worker(run_once=True)
        for place, value in enumerate(drawn):
            kind = TYPES[place][0]
            for got in (echo.received[str(place)], echo.app.sync.get_result(ids[str(place)])):
                assert is_form_of(value, got), (kind, value, got)
                assert type(got) is type(value), (kind, value, got)
                assert isinstance(value, Set) or repr(got) == repr(value), (kind, value, got)
            kept += 1

    check()
    assert kept == 4 * len(TYPES)


def test_whatever_is_passed_arrives_or_is_refused(echo: Echo) -> None:
    counted = {"kept": 0, "refused": 0}

    @SEVERAL
    @given(st.lists(odd, min_size=len(TYPES), max_size=len(TYPES)))
    def check(drawn: list[Any]) -> None:
        echo.received.clear()
        taken = {}
        for place, value in enumerate(drawn):
            try:
                echo.app.sync.enqueue(f"take-{place}", key=str(place), value=value)
                taken[str(place)] = value
            except (InvalidArguments, SerializationError):
                counted["refused"] += 1
        echo.app.sync.run_worker(run_once=True)
        assert set(echo.received) == set(taken)
        for key, value in taken.items():
            got = echo.received[key]
            assert is_form_of(value, got), (TYPES[int(key)][0], value, got)
            counted["kept"] += 1

    check()
    assert counted["kept"] > 20
    assert counted["refused"] > 200


def test_whatever_is_returned_is_read_as_it_was_or_not_kept(echo: Echo) -> None:
    counted = {"kept": 0, "lost": 0}

    @SEVERAL
    @given(st.lists(odd, min_size=len(TYPES), max_size=len(TYPES)))
    def check(drawn: list[Any]) -> None:
        echo.returned = {str(place): value for place, value in enumerate(drawn)}
        ids = [
            echo.app.sync.enqueue(f"give-{place}", key=str(place)) for place in range(len(drawn))
        ]
        echo.app.sync.run_worker(run_once=True)
        for job_id, value in zip(ids, drawn, strict=True):
            got = echo.app.sync.get_result(job_id)
            if got is None:
                counted["lost"] += 1
            else:
                assert is_form_of(value, got), (value, got)
                counted["kept"] += 1

    check()
    assert counted["kept"] > 20
    assert counted["lost"] > 200
