"""What `@app.job` makes of a function: its name, its options, what it refuses, and that it stays
the function.
"""

import asyncio
import functools
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from importlib import import_module, reload
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import asyncpg
import pytest

from soniq import Backoff, Cancel, InvalidOption, JobContext, Retry, SoniqError, UnknownJob
from soniq import Soniq as App
from soniq.errors import InvalidArguments, JobDefinitionError
from tests.conftest import MakeApp
from tests.support.jobs import run_job

OFFLINE = "postgresql://localhost:1/never-reached"
"""A database that tests of definitions alone do not reach."""


@pytest.fixture
def offline() -> App:
    """An app that is never started."""
    return App(OFFLINE, discover=False)


# --- the decorated function ----------------------------------------------------------------------


async def test_a_decorated_function_is_still_called_as_itself(offline: App) -> None:
    @offline.job(queue="default")
    async def process_order(order_id: int, ctx: JobContext) -> str:
        """Process it."""
        return f"{order_id} {ctx.attempt}"

    assert await process_order(1, JobContext(job_id="1", job_name="process_order")) == "1 1"
    assert process_order.__name__ == "process_order"
    assert process_order.__doc__ == "Process it."


def test_a_plain_def_job_is_called_without_an_event_loop(offline: App) -> None:
    @offline.job()
    def double(n: int) -> int:
        return 2 * n

    assert double(4) == 8


async def test_the_decorator_works_bare_and_with_parentheses(app: App) -> None:
    @app.job
    async def bare(n: int) -> int:
        return n + 1

    @app.job()
    async def called(n: int) -> int:
        return n + 2

    ids = [await app.enqueue(bare, n=1), await app.enqueue(called, n=1)]
    await app.run_worker(run_once=True)
    assert [await app.get_result(each) for each in ids] == [2, 3]


async def test_one_function_may_be_a_job_of_two_apps(app: App, offline: App) -> None:
    @app.job
    @offline.job
    async def shared(n: int) -> int:
        return n

    job_id = await app.enqueue(shared, n=3)
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == 3
    assert set(offline.registry) == set(app.registry)


# --- names ---------------------------------------------------------------------------------------


def module_level_job() -> None: ...


async def test_a_job_is_named_by_module_and_qualified_name(app: App) -> None:
    job = app.job()(module_level_job)
    assert job.name == f"{__name__}.module_level_job"
    status = await app.get_job_status(await app.enqueue(job))
    assert status is not None
    assert status["job_name"] == job.name


async def test_a_given_name_takes_its_place_in_rows_and_context(app: App) -> None:
    seen: list[str] = []

    @app.job(name="billing.send")
    async def anything(order_id: int, ctx: JobContext) -> None:
        seen.append(ctx.job_name)

    status = await run_job(app, "billing.send", args={"order_id": 7})
    assert (status["job_name"], status["status"], seen) == (
        "billing.send",
        "done",
        ["billing.send"],
    )


@pytest.mark.parametrize(
    "how", [["tasks.py"], ["-m", "tasks"], ["-m", "package.tasks"], ["-m", "package"]]
)
def test_a_script_that_is_run_directly_names_its_jobs_as_when_it_is_imported(
    tmp_path: Path, how: list[str]
) -> None:
    script = (
        "from soniq import Soniq\n"
        "eq = Soniq(discover=False)\n"
        "@eq.job()\n"
        "async def send(n: int) -> None: ...\n"
        "print(send.name)\n"
    )
    package = tmp_path / "package"
    package.mkdir()
    for path in (tmp_path / "tasks.py", package / "tasks.py", package / "__main__.py"):
        path.write_text(script)
    (package / "__init__.py").touch()
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, *how],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout.strip() == f"{how[-1].removesuffix('.py')}.send"


def test_two_jobs_of_one_name_are_refused_and_both_places_told(offline: App) -> None:
    @offline.job(name="send")
    async def first() -> None: ...

    with pytest.raises(JobDefinitionError, match="two jobs are named 'send'") as caught:

        @offline.job(name="send")
        async def second() -> None: ...

    assert str(caught.value).count(Path(__file__).name) == 2
    assert caught.value.job == "send"
    assert offline.registry["send"].function is first.function


async def test_a_module_that_is_reloaded_defines_its_jobs_again(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    shared = ModuleType("reloaded_app")
    monkeypatch.setitem(sys.modules, "reloaded_app", shared)
    vars(shared)["eq"] = app
    file = tmp_path / "reloaded_jobs.py"
    text = "from reloaded_app import eq\n\n@eq.job\nasync def count(n: {}) -> int:\n    return {}\n"
    file.write_text(text.format("int", "len(str(n))"))
    jobs = import_module("reloaded_jobs")
    monkeypatch.setitem(sys.modules, "reloaded_jobs", jobs)
    first = await app.enqueue(jobs.count, 1234)
    await app.run_worker(run_once=True)

    file.write_text(text.format("str", "len(n) * 100"))
    reload(jobs)
    with pytest.raises(InvalidArguments, match="Expected `str`"):
        await app.enqueue(jobs.count, 1234)
    second = await app.enqueue(jobs.count, "1234")
    await app.run_worker(run_once=True)
    assert [await app.get_result(each) for each in (first, second)] == [4, 400]

    file.write_text(text.format("int", "n") + "\n\n@eq.job\nasync def count() -> None: ...\n")
    with pytest.raises(JobDefinitionError, match=r"two jobs are named 'reloaded_jobs\.count'"):
        reload(jobs)


def test_what_is_typed_in_again_takes_the_place_of_what_was_there(
    database_url: str, schema: str
) -> None:
    cell = """
calls = []

@eq.before_job
def note(ctx):
    calls.append("once")

@eq.job
def count() -> int:
    return {}

job_id = eq.sync.enqueue(count)
eq.sync.run_worker(run_once=True)
print(eq.sync.get_result(job_id), calls)
"""
    begin = (
        f"from soniq import Soniq\neq = Soniq({database_url!r}, schema={schema!r}, discover=False)"
    )
    cells = [begin, cell.format(1), cell.format(1), cell.format(2)]
    typed = "\n".join(f"exec({each!r})" for each in cells)
    done = subprocess.run(
        [sys.executable, "-i", "-q"], input=typed, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == ["1 ['once']", "1 ['once']", "2 ['once']"], done.stderr


def test_two_jobs_of_one_name_are_refused_also_where_an_annotation_is_not_yet_known(
    offline: App,
) -> None:
    @offline.job(name="send")
    async def first() -> None: ...

    async def second(what: Any) -> None: ...

    second.__annotations__["what"] = "DefinedFurtherDown"
    with pytest.raises(JobDefinitionError, match="two jobs are named 'send'"):
        offline.job(name="send")(second)


@pytest.mark.parametrize("name", ["", "a\0b", "half \ud800", "x" * 501, "é" * 300])
def test_a_name_that_a_row_cannot_hold_is_refused(offline: App, name: str) -> None:
    with pytest.raises(SoniqError, match="name"):
        offline.job(name=name)(module_level_job)
    assert not offline.registry


async def test_a_name_nobody_defined_names_the_nearest(app: App) -> None:
    @app.job(name="billing.send")
    async def send() -> None: ...

    with pytest.raises(UnknownJob, match=r"did you mean 'billing\.send'") as caught:
        await app.enqueue("biling.send")
    assert (caught.value.name, caught.value.nearest) == ("biling.send", "billing.send")
    assert await app.jobs() == []


async def test_a_job_of_another_app_is_unknown_here(app: App, offline: App) -> None:
    @offline.job(name="elsewhere")
    async def elsewhere() -> None: ...

    with pytest.raises(UnknownJob, match="elsewhere"):
        await app.enqueue(elsewhere)


async def test_a_producer_may_allow_names_it_does_not_know(app: App, make_app: MakeApp) -> None:
    producer = make_app(unknown_jobs="allow")

    @app.job(name="billing.send")
    async def send(order_id: int) -> int:
        return order_id

    job_id = await producer.enqueue("billing.send", order_id=7)
    many = await producer.enqueue_many("billing.send", [{"order_id": 8}])
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == 7
    assert await producer.get_result(many[0]) == 8


async def test_a_producer_does_not_know_the_order_of_parameters_it_does_not_know(
    make_app: MakeApp,
) -> None:
    producer = make_app(unknown_jobs="allow")
    with pytest.raises(SoniqError, match="does not know its parameters"):
        await producer.enqueue("billing.send", 7)
    assert await producer.jobs() == []


async def test_an_unknown_name_must_still_be_text_that_a_row_can_hold(make_app: MakeApp) -> None:
    producer = make_app(unknown_jobs="allow")
    for name in ("", "a\0b", "half \ud800", "x" * 501):
        with pytest.raises(InvalidOption, match="name="):
            await producer.enqueue(name)
    assert await producer.jobs() == []


async def test_what_is_no_job_is_refused_and_said(app: App) -> None:
    async def forgotten() -> None: ...

    with pytest.raises(SoniqError, match=r"decorated with @app\.job\(\)"):
        await app.enqueue(forgotten)  # type: ignore[arg-type] # the mistake itself


# --- functions that cannot be jobs ---------------------------------------------------------------


def some_generator() -> Iterator[int]:
    yield 1


async def with_args(*numbers: int) -> None: ...


async def with_kwargs(**options: int) -> None: ...


async def with_positional_only(number: int, /) -> None: ...


def test_a_generator_is_refused(offline: App) -> None:
    with pytest.raises(JobDefinitionError, match="not a generator"):
        offline.job()(some_generator)
    assert not offline.registry


@pytest.mark.parametrize(
    ("function", "parameter"),
    [(with_args, r"\*numbers"), (with_kwargs, r"\*\*options"), (with_positional_only, "number")],
)
def test_a_parameter_without_a_name_to_pass_it_by_is_refused_where_it_is_defined(
    offline: App, function: Callable[..., Any], parameter: str
) -> None:
    with pytest.raises(
        JobDefinitionError, match=rf"{function.__name__}: the parameter {parameter}.*name each"
    ):
        offline.job()(function)
    assert not offline.registry


def test_what_is_no_function_is_refused(offline: App) -> None:
    decorate: Callable[[Any], object] = offline.job()
    with pytest.raises(JobDefinitionError, match="a job is a function"):
        decorate(5)


async def test_a_type_that_cannot_be_stored_is_refused_and_named(make_app: MakeApp) -> None:
    app = make_app()

    @app.job(name="impossible")
    async def impossible(either: "int | asyncio.Queue[int]") -> None: ...

    with pytest.raises(
        JobDefinitionError,
        match=r"impossible: the annotation of the parameter .* is of a type that cannot be stored",
    ):
        await app.start()


@pytest.mark.parametrize(
    ("place", "annotation"),
    [
        ("value", Path),
        ("value", Iterable[int]),
        ("value", Annotated[Fraction, "of the whole"]),
        ("return", Fraction),
        ("return", deque[int]),
    ],
)
async def test_a_type_that_nothing_makes_of_json_is_refused_at_the_start(
    make_app: MakeApp, place: str, annotation: object
) -> None:
    async def work(value: Any = None) -> Any: ...

    work.__annotations__[place] = annotation
    app = make_app()
    app.job(name="work")(work)
    with pytest.raises(JobDefinitionError, match=r"cannot be stored: nothing makes an? .* of JSON"):
        await app.start()


async def test_a_partial_is_a_job_where_it_is_given_a_name(app: App) -> None:
    async def power(base: int, exponent: int) -> int:
        return int(base**exponent)

    cube = app.job(name="cube")(functools.partial(power, exponent=3))
    job_id = await app.enqueue(cube, base=2)
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == 8


# --- options -------------------------------------------------------------------------------------


async def test_the_options_of_a_job_are_those_of_its_rows(
    app: App, connection: "asyncpg.Connection[Any]"
) -> None:
    @app.job(
        queue="mail",
        priority=-3,
        max_attempts=2,
        timeout=9.5,
        tags=["a", "b"],
        expires=60,
        keep=120,
    )
    async def send() -> None: ...

    @app.job()
    async def plain() -> None: ...

    job_id, plain_id = await app.enqueue(send), await app.enqueue(plain)
    schema = app.settings.schema
    rows = await connection.fetch(
        "select tags, serializer, keep, round(extract(epoch from expires_at - created_at)) as"
        f" expires from {schema}.job order by id"
    )
    assert [tuple(row) for row in rows] == [
        (["a", "b"], "json", 120, 60),
        (None, "json", 604_800, None),
    ]
    status, other = await app.get_job_status(job_id), await app.get_job_status(plain_id)
    assert status is not None
    assert other is not None
    assert (status["queue"], status["priority"], status["max_attempts"], status["tags"]) == (
        "mail",
        -3,
        2,
        ["a", "b"],
    )
    assert (other["queue"], other["priority"], other["max_attempts"], other["tags"]) == (
        "default",
        0,
        5,
        [],
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("queue", ""),
        ("queue", "a\0b"),
        ("queue", "\udfff"),
        ("queue", "x" * 201),
        ("queue", 5),
        ("priority", 1.5),
        ("priority", 40_000),
        ("priority", True),
        ("max_attempts", 0),
        ("max_attempts", "3"),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", float("nan")),
        ("timeout", float("inf")),
        ("timeout", "5"),
        ("unique", "yes"),
        ("serializer", ""),
        ("tags", "abc"),
        ("tags", 5),
        ("tags", [""]),
        ("tags", ["a\0b"]),
        ("tags", [5]),
        ("expires", -1),
        ("keep", -1),
        ("keep", "long"),
        ("retry", -1),
        ("retry", True),
        ("retry", "5"),
        ("retry", float("nan")),
        ("retry", Backoff),
        ("retry", Retry),
        ("retry", Retry(5)),
    ],
)
def test_an_option_that_cannot_be_is_refused_and_named(
    offline: App, option: str, value: object
) -> None:
    decorator: Callable[..., Callable[..., object]] = offline.job
    with pytest.raises(InvalidOption, match=f"{option}=") as caught:
        decorator(**{option: value})(module_level_job)
    assert caught.value.option == option
    assert not offline.registry


def test_an_option_of_no_such_name_is_refused_and_the_nearest_named(offline: App) -> None:
    decorator: Callable[..., Callable[..., object]] = offline.job
    with pytest.raises(InvalidOption, match="queue"):
        decorator(quue="mail")


async def test_a_serializer_that_nobody_provides_is_refused_and_those_there_are_named(
    app: App,
) -> None:
    app.job(serializer="pickle")(module_level_job)
    with pytest.raises(JobDefinitionError, match=r"no serializer named 'pickle'; there are json"):
        await app.start()


async def _retried(app: App, retry: Any) -> float:
    """Seconds from the failure of a job with this `retry=` to its next attempt."""

    @app.job(name="failing", retry=retry)
    async def failing() -> None:
        raise RuntimeError("boom")

    status = await run_job(app, failing)
    assert status["status"] == "queued"
    assert status["attempt"] == 1
    return (status["scheduled_at"] - status["created_at"]).total_seconds()


def _ask(ctx: JobContext, error: BaseException) -> float:
    assert ctx.attempt == 1
    assert str(error) == "boom"
    return 500


async def _ask_async(ctx: JobContext, error: BaseException) -> Retry:
    return Retry(500)


@pytest.mark.parametrize("retry", [500, 500.0, Backoff(first=500, jitter=0), _ask, _ask_async])
async def test_retry_takes_seconds_a_backoff_or_a_callable(app: App, retry: object) -> None:
    assert 500 <= await _retried(app, retry) < 560


async def test_a_callable_of_retry_may_cancel(app: App) -> None:
    @app.job(retry=lambda ctx, error: Cancel(f"not after {error}"))
    async def failing() -> None:
        raise RuntimeError("boom")

    status = await run_job(app, failing)
    assert status["status"] == "cancelled"
    assert status["error"] is not None
    assert status["error"]["message"] == "not after boom"


def test_a_backoff_that_cannot_be_is_refused() -> None:
    for wrong in (
        {"first": -1},
        {"factor": 0.5},
        {"cap": -1},
        {"jitter": 2},
        {"first": float("nan")},
    ):
        with pytest.raises(ValueError, match="first and cap are 0 or more"):
            Backoff(**wrong)


def test_a_backoff_grows_to_its_cap_within_its_jitter() -> None:
    backoff = Backoff(first=1, factor=2, cap=60, jitter=0.25)
    for attempt, plain in ((1, 1), (2, 2), (3, 4), (7, 60), (30_000, 60)):
        delays = [backoff.delay(attempt) for _ in range(50)]
        assert plain * 0.75 <= min(delays) <= max(delays) <= plain * 1.25
        assert len(set(delays)) > 1


async def test_a_job_may_not_be_added_while_a_worker_runs(app: App) -> None:
    refused: list[str] = []

    @app.job()
    async def defines_another() -> None:
        try:
            app.job()(module_level_job)
        except SoniqError as error:
            refused.append(str(error))

    await app.enqueue(defines_another)
    await app.run_worker(run_once=True)
    assert refused == ["a job cannot be added while a worker of this app runs"]


async def test_a_job_added_after_the_first_use_is_known(app: App) -> None:
    await app.start()
    status = await run_job(app, app.job(name="late")(module_level_job))
    assert status["status"] == "done"
