"""Every error that Soniq raises is a `SoniqError` with a class of its own: found in the sources, or
named here with why it is another.
"""

import ast
import builtins
import copy
import inspect
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from soniq import (
    Backoff,
    Cancel,
    InvalidOption,
    JobContext,
    JobFailed,
    PayloadTooLarge,
    Retry,
    Snooze,
    Soniq,
    SoniqError,
    Unique,
    WaitTimeout,
)
from soniq.errors import AppNotStarted, NoAttempt, WorkerRunning
from soniq.plugin import Dedup
from soniq.signals import Signal
from soniq_schedules import ScheduleNotFound
from tests.conftest import MakeApp

ROOT = Path(__file__).parent.parent.parent
SOURCES = [*ROOT.glob("soniq_core/src"), *ROOT.glob("plugins/*/src")]

LANGUAGE = "what Python has for an attribute that does not exist"
ABSTRACT = "a method that a child has"
CODEC = "a serializer's: who calls it makes an error of Soniq's of it"
CAUGHT = "who calls it makes an error of Soniq's of it"
PLUGINS = "told on the page, of the plugin that gave what cannot be shown"
INVARIANT = "what cannot be"
TESTS = "of a job or a hook of the checker's, as it should"

REASONS: dict[str, str] = {
    "soniq/changes.py Changes._ready NotImplementedError": ABSTRACT,
    "soniq/changes.py Changes._loop_elsewhere NotImplementedError": ABSTRACT,
    "soniq/changes.py Changes._loop_has_ended NotImplementedError": ABSTRACT,
    "soniq/changes.py Changes._loop_in_use NotImplementedError": ABSTRACT,
    "soniq/client.py Client.close NotImplementedError": ABSTRACT,
    "soniq/fields.py _Finders._make AssertionError": INVARIANT,
    "soniq/life.py Life._is_of_sync NotImplementedError": ABSTRACT,
    "soniq/life.py Life._loop_of_sync NotImplementedError": ABSTRACT,
    "soniq/life.py Life._rebuild NotImplementedError": ABSTRACT,
    "soniq/life.py Life._start NotImplementedError": ABSTRACT,
    "soniq/worker/background.py BackgroundLoop.turn NotImplementedError": ABSTRACT,
    "soniq/plugin.py __getattr__ AttributeError": LANGUAGE,
    "soniq/defaults/dedup.py DedupPlugin._declared ValueError": CAUGHT,
    "soniq/defaults/json.py JsonSerializer.check TypeError": CAUGHT,
    "soniq/defaults/json.py _from_json TypeError": CODEC,
    "soniq/defaults/json.py to_json TypeError": CODEC,
    "soniq/defining.py Defines._add_job NotImplementedError": ABSTRACT,
    "soniq/enqueue/headers.py _plain TypeError": CAUGHT,
    "soniq/hooks/reports.py _plain TypeError": CAUGHT,
    "soniq/hooks/dispatch.py within_limit TypeError": "logged: an observer that returns something",
    "soniq/hooks/markers.py _Marker.__getattr__ AttributeError": LANGUAGE,
    "soniq/job/job.py JobCalls._target NotImplementedError": ABSTRACT,
    "soniq/job/job.py JobCalls._with NotImplementedError": ABSTRACT,
    "soniq_schedules/when.py When._following NotImplementedError": ABSTRACT,
    "soniq_schedules/when.py When.about NotImplementedError": ABSTRACT,
    "soniq_schedules/when.py When.describe NotImplementedError": ABSTRACT,
    "soniq/settings.py _hosts ValueError": "of a URL that was checked before, or caught",
    "soniq/startup.py start AssertionError": INVARIANT,
    "soniq/sync.py _waited TimeoutError": "logged: the app could not be closed at the exit",
    "soniq/worker/result.py _check ValueError": CAUGHT,
    "soniq_dashboard/database.py bounded TimeoutError": "caught: the page says that it took too long",
    "soniq_dashboard/web/extensions.py": PLUGINS,
    "soniq_dashboard/web/written.py": PLUGINS,
    "soniq_otel/plugin.py _address ValueError": CAUGHT,
    "soniq_embedded/__init__.py __getattr__ AttributeError": LANGUAGE,
    "soniq_embedded/account.py make_account OSError": CAUGHT,
    "soniq_otel/plugin.py _flag ValueError": CAUGHT,
    "soniq_otel/plugin.py _seconds ValueError": CAUGHT,
    "soniq_psycopg/__init__.py __getattr__ AttributeError": LANGUAGE,
    "soniq_pydantic/reading.py": CODEC,
    "soniq_results/objects.py RedisObjects.get FileNotFoundError": CAUGHT,
    "soniq_testing/__init__.py __getattr__ AttributeError": LANGUAGE,
    "soniq_testing/jobs.py drain TimeoutError": "as the reference says: a test took too long",
    "soniq_testing/neighbours.py": TESTS,
    "soniq_testing/scenario.py": TESTS,
}
"""What is raised that is no `SoniqError`, as file, function and type, and why that is right. A file
alone is all of it.
"""


def others(tree: ast.AST, scope: str = "") -> Iterator[str]:
    """Each error of Python's own, and each bare `SoniqError`, that is made or raised below a
    node.
    """
    for node in ast.iter_child_nodes(tree):
        within = scope
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            within = f"{scope}.{node.name}".lstrip(".")
        elif isinstance(node, ast.Raise) and node.exc is not None:
            kind = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if hasattr(builtins, ast.unparse(kind)):
                yield f"{scope} {ast.unparse(kind)}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "SoniqError":
            yield f"{scope} SoniqError"
        yield from others(node, within)


def found() -> set[str]:
    return {
        f"{path.relative_to(source)} {each}"
        for source in SOURCES
        for path in source.rglob("*.py")
        for each in others(ast.parse(path.read_text()))
    }


def test_every_error_is_one_of_soniqs_or_has_a_reason() -> None:
    alone = {each for each in REASONS if each.endswith(".py")}
    unexplained = {each for each in found() if each.split(" ")[0] not in alone} - set(REASONS)
    assert sorted(unexplained) == []


def test_every_reason_is_still_needed() -> None:
    now = found()
    files = {each.split(" ")[0] for each in now}
    assert [each for each in REASONS if each not in now and each not in files] == []


def test_what_is_found() -> None:
    code = "class A:\n def f(self):\n  raise SoniqError('x')\n  raise ValueError\n  raise Own()\n"
    assert list(others(ast.parse(code))) == ["A.f SoniqError", "A.f ValueError"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Backoff(first=-1),
        lambda: Retry(-1),
        lambda: Snooze(-1),
        lambda: Unique(by="x"),
        lambda: Unique(scope="ever"),  # type: ignore[arg-type]
        lambda: Dedup("key", on_conflict="drop"),  # type: ignore[arg-type]
        lambda: JobContext(job_id="1", job_name="x").report_progress(2),
        lambda: JobContext(job_id="1", job_name="x").report_progress(0.5, text="x" * 100_000),
        lambda: Soniq(discover=False).include("jobs"),  # type: ignore[arg-type]
    ],
    ids=[
        "backoff", "retry", "snooze", "by", "scope", "on_conflict", "progress", "details", "include"
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_an_error_of_soniqs_and_a_value_error(make: object) -> None:
    assert callable(make)
    with pytest.raises(InvalidOption) as caught:
        make()
    assert isinstance(caught.value, ValueError)
    assert caught.value.option


def subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def an_error(kind: type[Exception]) -> Exception:
    """One of this type, made of what its parameters are called."""
    arguments: list[object] = []
    named: dict[str, object] = {}
    made_by: object = kind.__init__
    if not inspect.isfunction(made_by):
        return kind("what went wrong")
    for name, parameter in [*inspect.signature(made_by).parameters.items()][1:]:
        annotation = str(parameter.annotation)
        value: object = 7 if "int" in annotation or "float" in annotation else f"the {name}"
        if parameter.kind is parameter.KEYWORD_ONLY:
            named[name] = value
        else:
            arguments.append(value)
    return kind(*arguments, **named)


@pytest.mark.parametrize(
    "again",
    [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy],
    ids=["to another process", "copied", "copied deeply"],
)
def test_an_error_is_the_same_in_another_process(again: Callable[[Exception], Exception]) -> None:
    kinds = {
        each
        for each in subclasses(SoniqError)
        if each.__module__.startswith("soniq") and not each.__qualname__.startswith("_")
    }
    assert {InvalidOption, JobFailed, WaitTimeout, PayloadTooLarge, ScheduleNotFound} <= kinds
    for kind in kinds:
        error = an_error(kind)
        error.add_note("while it was tried")
        other = again(error)
        assert (type(other), str(other), vars(other)) == (kind, str(error), vars(error))


@pytest.mark.parametrize("signal", [Retry(), Retry(5), Snooze(5), Snooze(5, "why"), Cancel("why")])
def test_a_signal_is_the_same_in_another_process(signal: Signal) -> None:
    other = pickle.loads(pickle.dumps(signal))
    assert (type(other), str(other), vars(other)) == (type(signal), str(signal), vars(signal))


async def test_a_context_of_no_worker_enqueues_nothing() -> None:
    with pytest.raises(NoAttempt, match="belongs to no worker") as caught:
        await JobContext(job_id="1", job_name="x").enqueue("child")
    assert isinstance(caught.value, RuntimeError)


async def test_an_app_in_the_wrong_state_is_a_runtime_error(make_app: MakeApp) -> None:
    app = make_app()
    with pytest.raises(AppNotStarted) as caught:
        assert app.server_address
    assert isinstance(caught.value, RuntimeError)

    @app.job(name="define")
    async def define() -> str:
        with pytest.raises(WorkerRunning):
            app.job(name="late")(define.function)
        return "refused"

    job_id = await app.enqueue(define)
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == "refused"
