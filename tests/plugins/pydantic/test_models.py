"""Jobs that take and return Pydantic models."""

import dataclasses
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import asyncpg
import msgspec
import pydantic
import pytest
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr, computed_field
from typing_extensions import TypedDict  # Pydantic asks for it where Python is older than 3.12

from soniq import InvalidArguments, Soniq, Unique
from soniq.errors import JobDefinitionError
from soniq_pydantic import PydanticPlugin
from soniq_testing import check_plugin
from tests.conftest import MakeApp

T = TypeVar("T")


class Line(BaseModel):
    sku: str
    price: float = Field(gt=0)


class Order(BaseModel):
    model_config = ConfigDict(populate_by_name=False)

    id: UUID
    placed: datetime
    lines: list[Line] = []
    note: str | None = Field(default=None, alias="Note")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> float:
        return sum(line.price for line in self.lines)


class Parent(BaseModel):
    n: int


class Child(Parent):
    """Has nothing more to it but its methods."""


class BigOrder(Order):
    discount: float = 0.1


class Page(BaseModel, Generic[T]):
    items: list[T]


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    at: datetime


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: int


class Tag(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str


@dataclasses.dataclass
class Box:
    width: int = 0
    note: str = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.note = "n"
        self.area = self.width**2


@dataclasses.dataclass(slots=True)
class Slotted:
    width: int = 0


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: int = 0


class Part(BaseModel):
    box: Box | None = None
    slotted: Slotted | None = None
    entries: dict[str, "Entry"] = {}


class Neighbours(Open):
    """It keeps the fields that it does not declare; those beside it and in it do not."""

    lines: list[Line] = []
    tags: frozenset[Tag] = frozenset()
    part: Part | None = None
    closed: Closed | None = None
    inner: Open | None = None


class Tree(BaseModel):
    children: list["Tree"] = []


class Login(BaseModel):
    user: str
    password: SecretStr


class Hidden(BaseModel):
    shown: int
    hidden: int = Field(default=0, exclude=True)


@pydantic.dataclasses.dataclass
class Size:
    width: int = Field(gt=0)


@dataclasses.dataclass
class Parcel:
    order: Order
    by_sku: dict[str, Line]


class Entry(TypedDict):
    line: Line


class Pair(NamedTuple):
    left: Line
    right: int


class Holder(msgspec.Struct):
    line: Line


PLACED = datetime(2026, 1, 2, tzinfo=UTC)
LINE = Line(sku="a", price=1.5)
LINE_WITH_MORE = {"sku": "a", "price": 1, "dryrun": True}
ORDER = Order(id=UUID(int=1), placed=PLACED, lines=[LINE, Line(sku="b", price=2)], Note="soon")
BIG = BigOrder(**ORDER.model_dump(by_alias=True, exclude={"total"}))
CAT, DOG = Cat(lives=9), Dog(name="Rex")

VALUES: list[tuple[Any, Any]] = [
    (Order, ORDER),
    (Order | None, None),
    (Order | None, ORDER),
    (list[Order], [ORDER, ORDER]),
    (dict[str, Line], {"a": LINE}),
    (dict[UUID, list[Line | None]], {UUID(int=1): [LINE, None]}),
    (tuple[Line, int], (LINE, 1)),
    (Page[Line], Page[Line](items=[LINE])),
    (Page[int], Page[int](items=[1])),
    (Cat | Dog, DOG),
    (list[Annotated[Cat | Dog, Field(discriminator="kind")]], [CAT, DOG]),
    (Strict, Strict(at=PLACED)),
    (Open, Open(id=1, more=[1])),  # type: ignore[call-arg] # which it allows
    (
        Neighbours,
        Neighbours(
            id=1,
            more={"x": 1},
            lines=[LINE],
            tags=frozenset({Tag(name="a"), Tag(name="b")}),
            part=Part(box=Box(2), slotted=Slotted(3), entries={"a": {"line": LINE}}),
            closed=Closed(id=2),
            inner=Open(id=1, more=[1]),  # type: ignore[call-arg] # which it allows
        ),
    ),
    (Tree, Tree(children=[Tree(), Tree(children=[Tree()])])),
    (Size, Size(2)),
    (Parcel, Parcel(ORDER, {"a": LINE})),
    (Entry, {"line": LINE}),
    (Pair, Pair(LINE, 2)),
    (HttpUrl, HttpUrl("https://example.com/a")),
    (Annotated[int, Field(gt=0)], 3),
]

WRONG: list[tuple[Any, Any, str]] = [
    (Order, {"id": "x", "placed": PLACED}, "'value': id: Input should be a valid UUID"),
    (
        Order,
        {
            "id": str(UUID(int=1)),
            "placed": "2026-01-02T00:00:00Z",
            "lines": [{"sku": "a", "price": -1}],
        },
        r"'value': lines\.0\.price: Input should be greater than 0",
    ),
    (Order, {"placed": "2026-01-02T00:00:00Z"}, "'value': id: Field required"),
    (
        Order,
        {"id": str(UUID(int=1)), "placed": "2026-01-02T00:00:00Z", "liens": []},
        r"value\.liens",
    ),
    (Line, {"sku": "a", "price": 1, "dryrun": True}, r"value\.dryrun"),
    (
        Neighbours,
        {"id": 1, "more": 1, "lines": [LINE, {"sku": "a", "price": 1, "dryrun": 1}]},
        r"no field 'value\.lines\[1\]\.dryrun'",
    ),
    (
        Neighbours,
        {"id": 1, "tags": [{"name": "a"}, {"name": "b", "nmae": "c"}]},
        r"no field 'value\.tags\[.\]\.nmae'",
    ),
    (Neighbours, {"id": 1, "part": {"box": {"widht": 1}}}, r"no field 'value\.part\.box\.widht'"),
    (Neighbours, {"id": 1, "part": {"slotted": {"widht": 1}}}, r"no field 'value\.widht'"),
    (Neighbours, {"id": 1, "closed": {"di": 1}}, r"no field 'value\.closed\.di'"),
    (
        Neighbours,
        {"id": 1, "part": {"entries": {"a": {"line": LINE, "note": "x"}}}},
        r"no field 'value\.part\.entries\.a\.note'",
    ),
    (dict[str, Neighbours | Line], {"a": LINE_WITH_MORE}, r"no field|'value"),
    (tuple[Open, Line], ({"id": 1, "more": 1}, LINE_WITH_MORE), r"no field 'value\[1\]\.dryrun'"),
    (Order, BIG, r"no field 'value\.discount'"),
    (list[Order], [BIG], r"no field 'value\.0\.discount'"),
    (Parent, Child(n=1), "Child would arrive as a Parent"),
    (Parcel, Parcel(ORDER, {"a": Line.model_construct(sku="a", price=float("nan"))}), "'value"),
    (
        Login,
        Login(user="a", password=SecretStr("hunter2")),
        "'value'.*looks the same, and is not equal to it .Login",
    ),
    (Hidden, Hidden(shown=1, hidden=2), "'value'.*Hidden"),
    (Order, 5, "'value'"),
    (Annotated[int, Field(gt=0)], 0, "'value': Input should be greater than 0"),
    (Size, {"width": 0}, "'value': width: Input should be greater than 0"),
    (Cat | Dog, {"kind": "cow"}, "'value'"),
]


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    return make_app(plugins=[PydanticPlugin()])


def echo(app: Soniq, name: str, kind: Any, received: list[object], **options: Any) -> str:
    async def job(value: Any, number: int = 1) -> Any:
        received.append(value)
        return value

    job.__annotations__.update({"value": kind, "return": kind})
    return app.job(name=name, **options)(job).name


async def test_models_arrive_and_return_as_they_were_wherever_they_are_in_a_type(
    app: Soniq,
) -> None:
    received: list[list[object]] = [[] for _ in VALUES]
    names = [
        echo(app, f"job-{place}", kind, received[place]) for place, (kind, _) in enumerate(VALUES)
    ]
    ids = [await app.enqueue(name, value) for name, (_, value) in zip(names, VALUES, strict=True)]
    await app.run_worker(run_once=True)
    for job_id, got, (kind, value) in zip(ids, received, VALUES, strict=True):
        assert got == [value], kind
        result = await app.get_result(job_id)
        assert result == value, kind
        assert type(got[0]) is type(result) is type(value), kind


async def test_what_does_not_validate_or_would_not_arrive_is_refused_by_field_and_without_its_values(
    app: Soniq,
) -> None:
    names = [echo(app, f"job-{place}", kind, []) for place, (kind, _, _) in enumerate(WRONG)]
    for name, (_, value, said) in zip(names, WRONG, strict=True):
        with pytest.raises(InvalidArguments, match=f"^{name}: .*{said}") as caught:
            await app.enqueue(name, value)
        assert "hunter2" not in str(caught.value)
        assert "errors.pydantic.dev" not in str(caught.value)
    assert await app.jobs() == []


async def test_a_mapping_is_taken_for_a_model_by_names_and_by_aliases(app: Soniq) -> None:
    received: list[object] = []
    name = echo(app, "job", Order, received)
    plain = {
        "id": str(UUID(int=1)),
        "placed": "2026-01-02T00:00:00Z",
        "lines": [{"sku": "a", "price": 1.5}],
    }
    await app.enqueue(name, {**plain, "note": "soon"})
    await app.enqueue(name, {**plain, "Note": "soon"})
    await app.run_worker(run_once=True)
    expected = Order(id=UUID(int=1), placed=PLACED, lines=[LINE], Note="soon")
    assert received == [expected, expected]


async def test_unique_jobs_are_told_apart_by_their_models(app: Soniq) -> None:
    name = echo(app, "job", Order, [], unique=True)
    by = echo(app, "by", Order, [], unique=Unique(by=["number"]))
    same = {"id": str(UUID(int=1)), "placed": "2026-01-02T00:00:00+00:00", "note": "soon",
            "lines": [{"price": 1.5, "sku": "a"}, {"price": 2, "sku": "b"}]}  # fmt: skip
    ids = [
        await app.enqueue(name, each)
        for each in (ORDER, same, ORDER.model_copy(update={"note": "x"}))
    ]
    assert [each.inserted for each in ids] == [True, False, True]
    ids = [await app.enqueue(by, ORDER, number) for number in (1, 1, 2)]
    assert [each.inserted for each in ids] == [True, False, True]


async def test_a_field_that_a_model_does_not_have_here_waits_for_other_code(
    app: Soniq, connection: "asyncpg.Connection[Any]"
) -> None:
    received: list[object] = []
    name = echo(app, "job", Line, received)
    job_id = await app.enqueue(name, LINE)
    changed = f"""update {app.settings.schema}.job set args = '{{"value": {{"sku": "a", "price": 1.5, "dryrun": 1}}}}'"""
    await connection.execute(changed)
    await app.run_worker(run_once=True)
    status = await app.get_job_status(job_id)
    assert status is not None
    assert (status["status"], status["attempt"], received) == ("queued", 0, [])
    assert status["error"] is not None
    assert status["error"]["message"] == "job takes no argument 'value.dryrun' here"


async def test_a_job_whose_model_has_changed_meanwhile_is_dead_and_says_which_field(
    make_app: MakeApp,
) -> None:
    before, after = make_app(plugins=[PydanticPlugin()]), make_app(plugins=[PydanticPlugin()])

    class Line(BaseModel):
        sku: int
        price: float

    job_id = await before.enqueue(echo(before, "job", globals()["Line"], []), LINE)
    echo(after, "job", Line, [])
    await after.run_worker(run_once=True)
    status = await after.get_job_status(job_id)
    assert status is not None
    assert status["error"] is not None
    assert status["status"] == "dead"
    assert (
        "the argument 'value': sku: Input should be a valid integer" in status["error"]["message"]
    )


async def test_a_type_that_cannot_be_stored_is_an_error_when_the_app_starts(
    make_app: MakeApp,
) -> None:
    app = make_app(plugins=[PydanticPlugin()])
    echo(app, "job", Holder, [])
    with pytest.raises(
        JobDefinitionError,
        match=r"job: the annotation of the parameter value.*Pydantic cannot read",
    ):
        await app.start()
    without = make_app()
    echo(without, "job", Cat | Dog, [])
    with pytest.raises(
        JobDefinitionError, match=r"job: the annotation of the parameter value.*soniq-pydantic"
    ):
        await without.start()


async def test_other_jobs_keep_their_serializer(
    app: Soniq, connection: "asyncpg.Connection[Any]"
) -> None:
    await app.enqueue(echo(app, "plain", list[int], []), [1])
    await app.enqueue(echo(app, "model", Line, []), LINE)
    rows = await connection.fetch(
        f"select name, serializer from {app.settings.schema}.job order by name"
    )
    assert [tuple(row) for row in rows] == [("model", "pydantic"), ("plain", "json")]

    named = echo(app, "named", Line, [], serializer="json")
    with pytest.raises(JobDefinitionError, match="named: the annotation of the parameter value"):
        await app.enqueue(named, LINE)


async def test_types_that_are_named_as_text_and_local_ones_are_found(app: Soniq) -> None:
    class Local(BaseModel):
        n: int

    @app.job(name="job")
    async def job(value: "Local", where: "Page[Local] | None" = None) -> "Local":
        return Local(n=value.n + 1)

    job_id = await app.enqueue(job, Local(n=1), Page[Local](items=[Local(n=2)]))
    await app.run_worker(run_once=True)
    assert await job.get_result(job_id) == Local(n=2)


async def test_it_keeps_to_the_contract(database_url: str) -> None:
    await check_plugin(PydanticPlugin(), database_url=database_url)
