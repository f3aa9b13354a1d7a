"""The import rule of the core's floors tells each way in which it can be broken."""

from pathlib import Path

import pytest

from tests.imports import CORE, circles, climbs, graph_of


def test_the_core_never_runs_up_its_floors() -> None:
    assert list(climbs(graph_of(CORE))) == []


def test_the_imports_for_type_checkers_and_inside_functions_are_seen() -> None:
    graph = graph_of(CORE)
    assert "soniq.postgres.connections" in graph["soniq.defaults.injection"]  # TYPE_CHECKING
    assert "soniq.settings" in graph["soniq.app"]  # from soniq import settings
    assert "soniq.cli" in graph["soniq.__main__"]


@pytest.mark.parametrize(
    ("module", "other"),
    [
        ("soniq.errors", "soniq.job.job"),
        ("soniq.job.job", "soniq.app"),
        ("soniq.hooks.specs", "soniq.registry"),
        ("soniq.worker.claim", "soniq.enqueue.outbox"),
        ("soniq.sync", "soniq"),
    ],
    ids=["values", "types", "hooks", "beside", "face"],
)
def test_an_import_that_is_not_beneath_is_told_with_its_place(module: str, other: str) -> None:
    graph = {module: {other: "file.py:7"}, other: {}}
    assert list(climbs(graph)) == [f"file.py:7: {module} imports {other}, which is not beneath it"]


def test_an_import_within_a_room_or_down_is_none_of_it() -> None:
    graph = {
        "soniq.worker.claim": {"soniq.worker.settle": "a.py:1", "soniq.errors": "a.py:2"},
        "soniq.worker.settle": {},
        "soniq.errors": {},
    }
    assert list(climbs(graph)) == []


def test_a_circle_within_a_room_is_told() -> None:
    graph = {
        "soniq.job.job": {"soniq.job.context": "a.py:1"},
        "soniq.job.context": {"soniq.job.job": "b.py:1"},
    }
    (told,) = circles(graph)
    assert told.startswith("an import circle: ")


def test_a_circle_of_a_plugin_is_told(tmp_path: Path) -> None:
    package = tmp_path / "soniq_one"
    package.mkdir()
    (package / "__init__.py").write_text("from .plugin import One\n")
    (package / "plugin.py").write_text("def one() -> None:\n    from . import types\n")
    (package / "types.py").write_text("from .plugin import one\n")
    (told,) = circles(graph_of(tmp_path))
    assert told.startswith("an import circle: soniq_one.")


def test_a_file_without_a_floor_is_told() -> None:
    with pytest.raises(SystemExit, match=r"soniq\.extra has no floor"):
        list(climbs({"soniq.extra": {}}))
