"""The contract itself: each hook says what it is, and has a test."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import get_args

import pytest

from soniq.hooks.hook import Hook, Kind, hook, hooks_in
from soniq.hooks.specs import CONTRACT_VERSION, HOOKS

ALL = {
    "database_url", "lifespan", "withdraw_hooks", "started", "jobs", "hookspecs", "serializers", "result_stores", "provide", "configure_job",
    "background_tasks", "housekeeping", "migrations", "register_commands", "status_fields", "inspect_fields", "present", "adapt_connection",
    "around_enqueue", "dedup_key", "claimed", "around_job", "before_job", "after_job", "on_error",
    "retry_delay", "enqueue_tx", "settle_tx", "owed_tx", "settled", "acted", "workers_lost",
    "forgotten_tx",
}  # fmt: skip

ALL_AT_ONCE = {"test_hostile.py", "test_markers.py"}
"""Tests of what all hooks have in common."""


def test_the_contract_has_these_hooks() -> None:
    assert set(HOOKS) == ALL
    assert CONTRACT_VERSION == 2


@pytest.mark.parametrize("described", HOOKS.values(), ids=list(HOOKS))
def test_each_hook_says_what_it_is_and_what_an_error_in_it_does(described: Hook) -> None:
    text = inspect.getdoc(described.function)
    assert text
    assert re.search("rror|fails", text) or described.name in {"serializers", "result_stores"}


@pytest.mark.parametrize("described", HOOKS.values(), ids=list(HOOKS))
def test_each_hook_has_a_kind_and_says_since_when_it_is_there(described: Hook) -> None:
    assert described.kind in get_args(Kind)
    assert 1 <= described.since <= CONTRACT_VERSION


def test_a_hook_is_what_its_decorator_and_its_function_say() -> None:
    @hook("observer", since=2, def_only=True)
    def seen(ctx: object, result: object) -> None:
        """Something was seen."""

    (found,) = hooks_in({"seen": seen, "other": 1}).values()
    assert (found.name, found.arguments) == ("seen", ("ctx", "result"))
    assert (found.kind, found.since, found.def_only) == ("observer", 2, True)
    assert found.function is seen


def test_each_hook_is_implemented_by_a_test_of_its_own() -> None:
    tests = Path(__file__).parents[1].rglob("test_*.py")
    implemented = {
        name
        for path in tests
        if path.name not in ALL_AT_ONCE
        for name in implemented_in(path.read_text(encoding="utf-8"))
    }
    assert set(HOOKS) - implemented == set()


def test_an_implementation_is_found_however_it_is_written() -> None:
    source = """
class Plugin:
    @hookimpl
    def settled(self): ...
    @hookimpl(tryfirst=True)
    async def claimed(self): ...
    @hookimpl.provide
    def gives(self): ...
    def lifespan(self): ...
plugin = make_plugin("name", before_job=print)
written = "@hookimpl\\ndef jobs(): ..."
other("name", after_job=print)
app.on_error(print)
"""
    assert set(implemented_in(source)) == {
        "settled", "claimed", "provide", "before_job", "jobs",
    }  # fmt: skip


def implemented_in(source: str) -> Iterator[str]:
    """The hooks that a test implements: functions with the marker, also in text that it writes to a
    file, and arguments of `make_plugin`.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for mark in map(ast.unparse, node.decorator_list):
                marker, _, named = mark.partition("(")[0].partition(".")
                if marker == "hookimpl":
                    yield named or node.name
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "make_plugin":
            yield from (each.arg for each in node.keywords if each.arg)
        elif isinstance(node, ast.Constant) and "@hookimpl" in str(node.value):
            with suppress(SyntaxError):
                yield from implemented_in(textwrap.dedent(str(node.value)))
