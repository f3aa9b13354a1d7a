"""The contract as text: hooks, the values they take and return, what a plugin uses of the app, the exported names.

`python -m tests.core.hooks.snapshot` writes it to contract.txt.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path

import soniq
from soniq.hooks import specs

FILE = Path(__file__).parent / "contract.txt"

VALUES = (
    soniq.JobContext, soniq.Outcome, soniq.EnqueueBatch, soniq.NewJob, soniq.Dedup, soniq.Task, soniq.Migration,
    soniq.JobDefinition, soniq.Serializer, soniq.ResultStore, soniq.StreamingResultStore, soniq.Stash, soniq.StashKey,
    soniq.Retry, soniq.Snooze, soniq.Cancel, soniq.QueueBacklog,
)  # fmt: skip
OF_THE_APP = ("connection", "plugin_schema", "server_address", "backlog", "settings", "registry")


def contract() -> str:
    """The contract of this version, a line for each thing that a plugin may rely on."""
    lines = [f"version {specs.CONTRACT_VERSION}", "", "# hooks"]
    for name, spec in specs.SPECS.items():
        only = ", def only" if name in specs.DEF_ONLY else ""
        lines += ["", f"since {specs.SINCE[name]}, {specs.KINDS[name]}{only}", _signature(_parsed(spec))]
    lines += ["", "# values"]
    for value in VALUES:
        lines += ["", f"class {value.__name__}", *(f"    {member}" for member in members(value))]
    own = {name: getattr(soniq.Soniq, name) for name in OF_THE_APP}
    lines += ["", "# of the app", ""]
    lines += [_signature(_parsed(each.fget if isinstance(each, property) else each)) for each in own.values()]
    lines += ["", "# exported by soniq", "", *sorted(soniq.__all__)]
    return "\n".join(lines) + "\n"


def members(kind: type) -> Iterator[str]:
    """The public fields and methods of a class, each in a line, in the order in which they are written."""
    parsed = _parsed(kind)
    assert isinstance(parsed, ast.ClassDef)
    for node in parsed.body:
        if isinstance(node, ast.AnnAssign):
            yield ast.unparse(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name == "__init__":
                yield from _attributes(node)
            if not node.name.startswith("_") or node.name == "__init__":
                marks = [f"@{ast.unparse(each)} " for each in node.decorator_list]
                yield "".join(marks) + _signature(node)


def _attributes(init: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """The public attributes that `__init__` sets."""
    for node in init.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(target, ast.Attribute) and not target.attr.startswith("_"):
                yield ast.unparse(target) + (
                    f": {ast.unparse(node.annotation)}" if isinstance(node, ast.AnnAssign) else ""
                )


def _signature(node: ast.AST) -> str:
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    begins = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{begins} {node.name}({ast.unparse(node.args)}){returns}"


def _parsed(thing: object) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]  # type: ignore[arg-type]


if __name__ == "__main__":
    FILE.write_text(contract(), encoding="utf-8")
