"""The marker `hookimpl` at run time: by the function's name, or by the attribute's. `tests/typed`
has its types.
"""

import ast
import inspect
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from typing import Any

import pytest

from soniq import JobContext, Soniq, hookimpl
from soniq.errors import PluginError
from soniq.hooks.specs import HOOKS
from soniq.plugin import Outcome, load_plugins
from tests.core.hooks.support import MakeApp, Run
from tests.typed import hooks_ok

CLASSES = (hooks_ok.Kept, hooks_ok.Fewer, hooks_ok.Methods, hooks_ok.Managers, hooks_ok.ByName)


class Noting:
    """Notes what happens to a job, in methods of other names than the hooks'."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    @hookimpl.around_job
    def surround(self, ctx: JobContext) -> Iterator[None]:
        self.calls.append("entered")
        yield
        self.calls.append("left")

    @hookimpl.before_job(trylast=True)
    def a_last(self) -> None:
        self.calls.append("last before")

    @hookimpl.before_job
    async def between(self, ctx: JobContext) -> None:
        self.calls.append(f"before {ctx.job_name}")

    @hookimpl.before_job(tryfirst=True)
    def z_first(self) -> None:
        self.calls.append("first before")

    @hookimpl.after_job
    def turned(self, result: object, ctx: JobContext) -> None:
        self.calls.append(f"{ctx.job_name} returned {result}")

    @hookimpl.settled
    def count(self, outcomes: Sequence[Outcome]) -> None:
        self.calls.append(f"settled {len(outcomes)}")


async def test_a_method_of_any_name_is_called_for_the_hook_of_its_marker(
    make_app: MakeApp, run: Run
) -> None:
    plugin = Noting()
    app = make_app(plugins=[plugin])

    @app.job(name="answer")
    async def answer() -> int:
        plugin.calls.append("handler")
        return 42

    await run(app, answer)
    assert plugin.calls == [
        "entered", "first before", "before answer", "last before", "handler", "answer returned 42",
        "left", "settled 1",
    ]  # fmt: skip


def test_a_plugin_with_several_functions_for_a_hook_lists_it_once() -> None:
    assert hooks_of(Noting()) == ["after_job", "around_job", "before_job", "settled"]


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_is_an_attribute_that_gives_the_function_back(hook: str) -> None:
    def function() -> None: ...

    assert getattr(hookimpl, hook)(function) is function
    assert getattr(hookimpl, hook)(tryfirst=True)(function) is function


def test_the_typed_form_has_the_hooks_of_the_contract_and_no_others() -> None:
    tree = ast.parse((files("soniq.hooks") / "typed.pyi").read_text(encoding="utf-8"))
    (typed,) = (
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Hookimpl"
    )
    methods = {node.name for node in typed.body if isinstance(node, ast.FunctionDef)}
    assert {name for name in methods if not name.startswith("_")} == set(HOOKS)


def test_the_typed_form_has_been_shown_each_hook_with_all_its_arguments() -> None:
    shown: dict[str, set[str]] = {}
    for function in vars(hooks_ok).values():
        if marks := getattr(function, "soniq_impl", None):
            shown[marks["specname"]] = shown.get(marks["specname"], set()) | set(
                inspect.signature(function).parameters
            )
    assert shown == {hook: set(described.arguments) for hook, described in HOOKS.items()}


@pytest.mark.parametrize("kind", CLASSES)
def test_what_the_type_checkers_accept_is_loaded(kind: type) -> None:
    assert hooks_of(kind())


def test_a_module_of_marked_functions_is_a_plugin_of_every_hook() -> None:
    assert set(hooks_of(hooks_ok)) == set(HOOKS)


def test_a_hook_that_does_not_exist_is_refused_with_the_nearest_that_does() -> None:
    with pytest.raises(
        AttributeError, match=r"^there is no hook named 'arround_job'; did you mean 'around_job'\?$"
    ):
        marker("arround_job")
    with pytest.raises(AttributeError, match=r"^there is no hook named 'xyzzy'$"):
        marker("xyzzy")


def test_what_else_is_wrong_is_refused_when_the_plugin_is_loaded() -> None:
    class Plugin:
        @marker("after_job")
        def mine(self, ctx: JobContext, value: object) -> None: ...

    with pytest.raises(PluginError, match="after_job has no argument 'value'"):
        hooks_of(Plugin())


def marker(hook: str) -> Callable[..., Any]:
    """The marker of a hook, out of the type checkers' sight."""
    found: Callable[..., Any] = getattr(hookimpl, hook)
    return found


def hooks_of(plugin: object) -> Sequence[str]:
    """The hooks that an app says a plugin implements."""
    [loaded] = [
        each
        for each in load_plugins(Soniq(plugins=[plugin], discover=False)).plugins
        if each.source == "passed"
    ]
    return loaded.hooks
