"""The import rules: the core imports no plugin, and is built in floors; a plugin imports only what
`soniq`, `soniq.plugin` and `soniq.errors` export, and plugins that it requires.

A file of the core imports from the floors below it and from its own room, wherever it does so: for
type checkers and inside functions, too. No import leads back in a circle. Only stubs (`.pyi`) are
free: they describe what stands beneath the app as an application's type checker is to see it.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = [*ROOT.glob("plugins/*/src/*"), *ROOT.glob("examples/plugins/*/src/*")]
PLUGINS = {folder.name for folder in SOURCES if folder.is_dir()}
CORE = ROOT / "soniq_core/src"
DOORS = {
    "soniq": CORE / "soniq/__init__.py",
    "soniq.plugin": CORE / "soniq/plugin.py",
    "soniq.errors": CORE / "soniq/errors.py",
}
"""What is public: names in `__all__`; of the errors, all classes."""

VALUES = (
    "backoff checks distribution errors failure faithful fields ids logs memory search secret settings signals status text"
    " tracebacks transaction unique"
)
FLOORS: tuple[tuple[str, ...], ...] = (
    (VALUES,),
    ("job",),
    ("hooks",),
    ("registry",),
    ("postgres", "defining", "presenting"),
    ("enqueue", "worker", "defaults", "jobs"),
    ("runtime startup",),
    ("bridge changes client life",),
    ("sync",),
    ("app",),
    ("cli plugin __init__",),
    ("__main__",),
)
"""The floors of the core from the ground up: the rooms of each, and the files or packages in a
room.
"""
PLACES = {
    name: (floor, room)
    for floor, rooms in enumerate(FLOORS)
    for room in rooms
    for name in room.split()
}
"""On which floor, and in which room, each file or package is."""


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Each module that a file imports, wherever it does so, with its line."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module
            if node.module in DOORS:
                yield from ((node.lineno, f"{node.module}:{alias.name}") for alias in node.names)


def module_of(path: Path, source: Path) -> str:
    """The name of a file below a folder of sources as a module."""
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def graph_of(source: Path) -> dict[str, dict[str, str]]:
    """Of each module below a folder of sources, the others there that it imports, each with the
    place of the import.
    """
    files = {module_of(path, source): path for path in sorted(source.rglob("*.py"))}
    graph: dict[str, dict[str, str]] = {module: {} for module in files}
    for module, path in files.items():
        shown = path.relative_to(source.parents[1])
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                above = path.relative_to(source).parts[: -node.level] if node.level else ()
                origin = ".".join([*above, *([node.module] if node.module else [])])
                names = [f"{origin}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                found = name if name in files else name.rpartition(".")[0]
                if found in files and found != module:
                    graph[module].setdefault(found, f"{shown}:{node.lineno}")
    return graph


def place(module: str) -> tuple[int, str]:
    """The floor and the room of a module of the core."""
    name = module.partition(".")[2].partition(".")[0] or "__init__"
    if name not in PLACES:
        raise SystemExit(f"{module} has no floor: give it a room in FLOORS (tests/imports.py)")
    return PLACES[name]


def climbs(graph: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """The imports that lead up, or into another room of the same floor."""
    for module, imports in graph.items():
        floor, room = place(module)
        for other, where in imports.items():
            above, beside = place(other)
            if above > floor or (above == floor and beside != room):
                yield f"{where}: {module} imports {other}, which is not beneath it"


def circles(graph: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """A circle, if one is left."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield "an import circle: " + " <- ".join(error.args[1])


def exported(door: str) -> set[str]:
    """The public names of a module of the core, read without importing it."""
    tree = ast.parse(DOORS[door].read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            getattr(t, "id", "") == "__all__" for t in node.targets
        ):
            return set(ast.literal_eval(node.value))
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


@cache
def required_plugins(project: Path) -> set[str]:
    """The import names of the plugins that a plugin's pyproject.toml requires, also as an extra."""
    about = tomllib.loads(project.read_text())["project"]
    required = [*about["dependencies"], *chain(*about.get("optional-dependencies", {}).values())]
    return {re.split(r"[^\w-]", each)[0].replace("-", "_") for each in required} & PLUGINS


def violations() -> Iterator[str]:
    public = {door: exported(door) for door in DOORS}
    yield from climbs(graph_of(CORE))
    for sources in (CORE, *sorted({folder.parent for folder in SOURCES})):
        yield from circles(graph_of(sources))

    for path in sorted(CORE.rglob("*.py")):
        for line, module in imported(path):
            if module.split(".")[0] in PLUGINS:
                yield f"{path.relative_to(ROOT)}:{line}: the core imports the plugin {module}"
    for path in sorted(path for folder in SOURCES for path in folder.rglob("*.py")):
        source = path.relative_to(ROOT).parts.index("src")
        own = path.relative_to(ROOT).parts[source + 1]
        required = required_plugins(
            ROOT.joinpath(*path.relative_to(ROOT).parts[:source], "pyproject.toml")
        )
        for line, module in imported(path):
            door, colon, name = module.partition(":")
            if colon:
                if name not in public[door] and f"{door}.{name}" not in DOORS:
                    yield f"{path.relative_to(ROOT)}:{line}: {name} is not exported by {door}"
            elif module.split(".")[0] == "soniq" and module not in DOORS:
                yield f"{path.relative_to(ROOT)}:{line}: {module} is not public"
            elif module.split(".")[0] in PLUGINS - {own} - required:
                yield f"{path.relative_to(ROOT)}:{line}: a plugin imports the plugin {module}"


if __name__ == "__main__":
    found = list(violations())
    print(
        "\n".join(found)
        or "imports: the core imports no plugin and never runs up its floors, and each plugin only"
        " the public names of soniq and what it requires"
    )
    sys.exit(bool(found))
