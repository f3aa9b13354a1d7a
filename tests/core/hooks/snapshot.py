"""The contract as text: hooks, the values they take and return, what an app is to a plugin, the
exported names.

`python -m tests.core.hooks.snapshot` writes it to contract.txt.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path

import soniq
from soniq import plugin
from soniq.hooks import own, own_spec, specs

FILE = Path(__file__).parent / "contract.txt"

VALUES = (
    plugin.App, soniq.JobContext, plugin.Outcome, plugin.ForgottenJob, plugin.Action, plugin.EnqueueBatch, plugin.NewJob, plugin.IncomingJob, plugin.Holds, plugin.OwedEvent, plugin.Dedup, plugin.Task,
    plugin.Migration, plugin.JobDefinition, plugin.Serializer, plugin.BindingSerializer, plugin.Payload, plugin.ResultStore,
    plugin.StreamingResultStore, plugin.Stash, plugin.StashKey, soniq.Retry, soniq.Snooze,
    soniq.Cancel, soniq.QueueBacklog, plugin.LoadedPlugin, plugin.Implementation, plugin.hookspec,
    own_spec.OwnSpec, own.Observer, own.FirstResult, own.Collected,
)  # fmt: skip
CHOICES = ("OutcomeStatus", "OutcomeKind", "OwedKind", "ActionKind", "Presentable")
OF_HOOKS = ("implementations", "collect", "plugin")


def contract() -> str:
    """The contract of this version, a line for each thing that a plugin may rely on."""
    lines = [f"version {specs.CONTRACT_VERSION}", "", "# hooks"]
    for hook in specs.HOOKS.values():
        only = ", def only" if hook.def_only else ""
        lines += [
            "",
            f"since {hook.since}, {hook.kind}{only}",
            _signature(_parsed(hook.function)),
        ]
    lines += ["", "# values"]
    for value in VALUES:
        lines += ["", f"class {value.__name__}", *(f"    {member}" for member in members(value))]
    lines += ["", *(f"{name} = {getattr(plugin, name)}" for name in CHOICES)]
    lines += ["", "# of the hooks of an app", ""]
    lines += [_signature(_parsed(getattr(plugin.Hooks, name))) for name in OF_HOOKS]
    lines += ["", _signature(_parsed(plugin.load_plugins))]
    lines += ["", _signature(_parsed(plugin.presented))]
    lines += ["", "# exported by soniq", "", *sorted(soniq.__all__)]
    lines += ["", "# exported by soniq.plugin", "", *sorted(plugin.__all__)]
    return "\n".join(lines) + "\n"


def members(kind: type) -> Iterator[str]:
    """The public fields and methods of a class, each in a line, in the order in which they are
    written.
    """
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
