"""What in the reference is made from docstrings. `python -m tests.docs.tables` writes it into the
pages.
"""

import ast
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from soniq import errors, settings
from soniq.errors import SoniqError
from soniq.hooks import specs
from soniq.settings import Settings

from .pages import DOCS


def settings_table() -> str:
    """Every setting: name, environment, what it takes, default, meaning."""
    told = attribute_docstrings(settings, "Settings")
    lines = ["| setting | environment | takes | default | |", "| --- | --- | --- | --- | --- |"]
    for name, kind in get_type_hints(Settings, include_extras=True).items():
        default = getattr(Settings(), name)
        shown = "none" if default is None else f"`{_shown(default)}`"
        lines.append(
            f"| `{name}` | `SONIQ_{name.upper()}` | {_takes(kind)} | {shown} |"
            f" {_cell(told[name])} |"
        )
    return "\n".join(lines) + "\n"


def errors_list() -> str:
    """Every error, below its parent."""

    def tree(parent: type, depth: int) -> Iterator[str]:
        for name, kind in vars(errors).items():
            if (
                inspect.isclass(kind)
                and kind.__bases__[0] is parent
                and kind.__module__ == errors.__name__
            ):
                yield f"{'  ' * depth}- `{name}`: {' '.join((inspect.getdoc(kind) or '').split())}"
                yield from tree(kind, depth + 1)

    return "\n".join(tree(SoniqError, 0)) + "\n"


def of_hook(name: str) -> str:
    """One hook: its signature, its kind, since when it is there, and what its docstring says."""
    hook = specs.HOOKS[name]
    (found,) = ast.parse(inspect.getsource(hook.function)).body
    assert isinstance(found, ast.FunctionDef)
    signature = ast.unparse(found.args), ast.unparse(found.returns or ast.Constant(None))
    arguments, returns = (text.replace("'", "") for text in signature)
    arguments = arguments.replace("app: App", "app: Soniq")  # which is the App that plugins name
    only = ", `def` only" if hook.def_only else ""
    kind = f"{hook.kind.capitalize()}{only}; since version {hook.since}."
    return (
        f"    def {name}({arguments}) -> {returns}\n\n{kind}\n\n{inspect.getdoc(hook.function)}\n"
    )


REFERENCE = DOCS / "reference"

TABLES: dict[tuple[Path, str], Callable[[], str]] = {
    (REFERENCE / "settings.md", "settings"): settings_table,
    (REFERENCE / "errors.md", "errors"): errors_list,
    **{(REFERENCE / "hooks.md", name): partial(of_hook, name) for name in specs.HOOKS},
}
"""The places in pages, and what is made for each."""


def place(page: Path, name: str) -> tuple[str, str, str]:
    """A page in three parts: before its table, the table, after it."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(f"<!-- begin {name} -->\n")
    table, end, after = rest.partition(f"<!-- end {name} -->")
    assert begin, f"{page} has no place for {name}"
    assert end, f"{page} has no end of {name}"
    return before + begin, table, end + after


def attribute_docstrings(module: object, class_name: str) -> dict[str, str]:
    """The text below each attribute of a class."""
    tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]
    (found,) = (
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name
    )
    told: dict[str, str] = {}
    for node, following in zip(found.body, found.body[1:], strict=False):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            assert isinstance(following, ast.Expr), (
                f"{class_name}.{node.target.id} has no docstring"
            )
            assert isinstance(following.value, ast.Constant)
            told[node.target.id] = str(following.value.value)
    return told


def _shown(value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:_}".removesuffix(".0") if number else repr(value)


def _takes(kind: Any) -> str:
    """A type, and its bounds, or the values: `int, 1 or more`, `'info' or 'debug'`."""
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    bounded = next(
        (each for each in get_args(kind) if get_origin(each) is Annotated), kind
    )  # or None
    kind, *about = get_args(bounded) if get_origin(bounded) is Annotated else (kind,)
    taken = [each.__name__ for each in get_args(kind) or [kind] if each is not type(None)]
    for bounds in about:
        if bounds.gt is not None:
            taken.append(f"more than {_shown(bounds.gt)}")
        if bounds.ge is not None:
            taken.append(f"{_shown(bounds.ge)} or more")
        if bounds.le is not None:
            taken.append(f"{_shown(bounds.le)} at most")
    return ", ".join(taken)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    for (page, name), make in TABLES.items():
        before, _, after = place(page, name)
        page.write_text(before + make() + after, encoding="utf-8")
