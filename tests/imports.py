"""The import rule: the core imports no plugin; a plugin imports of Soniq only what `soniq` exports."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = [*ROOT.glob("plugins/*/src/*"), *ROOT.glob("examples/plugins/*/src/*")]
PLUGINS = {folder.name for folder in SOURCES if folder.is_dir()}
PUBLIC_MODULES = {"soniq", "soniq.job", "soniq.testing"}


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Each module that a file imports, wherever it does so, with its line."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module
            if node.module == "soniq":
                yield from ((node.lineno, f"soniq:{alias.name}") for alias in node.names)


def exported() -> set[str]:
    """The names in `__all__` of the core, read without importing it."""
    tree = ast.parse((ROOT / "soniq_core/src/soniq/__init__.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in node.targets):
            return set(ast.literal_eval(node.value))
    raise SystemExit("soniq/__init__.py has no __all__")


def violations() -> Iterator[str]:
    public = exported()
    for path in sorted((ROOT / "soniq_core/src").rglob("*.py")):
        for line, module in imported(path):
            if module.split(".")[0] in PLUGINS:
                yield f"{path.relative_to(ROOT)}:{line}: the core imports the plugin {module}"
    for path in sorted(path for folder in SOURCES for path in folder.rglob("*.py")):
        own = path.relative_to(ROOT).parts[path.relative_to(ROOT).parts.index("src") + 1]
        for line, module in imported(path):
            if module.startswith("soniq:"):
                if module.removeprefix("soniq:") not in public:
                    yield f"{path.relative_to(ROOT)}:{line}: {module.removeprefix('soniq:')} is not exported by soniq"
            elif module.split(".")[0] == "soniq" and module not in PUBLIC_MODULES:
                yield f"{path.relative_to(ROOT)}:{line}: {module} is not public"
            elif module.split(".")[0] in PLUGINS - {own}:
                yield f"{path.relative_to(ROOT)}:{line}: a plugin imports the plugin {module}"


if __name__ == "__main__":
    found = list(violations())
    print("\n".join(found) or "imports: the core imports no plugin, and each plugin only soniq")
    sys.exit(bool(found))
