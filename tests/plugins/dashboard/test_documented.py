"""The hooks of the dashboard, and the values that they return, are documented."""

import inspect
import re
from pathlib import Path

import msgspec
import pytest

import soniq_dashboard
from soniq_dashboard import Alert, Facts, Link, Page, Panel, Table, Text, Visit
from soniq_dashboard.extending import HOOKS

PAGE = (Path(__file__).parents[3] / "docs/reference/dashboard.md").read_text(encoding="utf-8")
COUNTS = {"BOUNDS", "Dashboard", "Durations", "Gauge", "Point"}
"""What has nothing to do with pages: `docs/how-to/over-time.md`."""


def test_each_hook_is_documented_with_its_arguments() -> None:
    documented = re.findall(r"^\| `(dashboard_\w+)\(([^)]*)\)` \|", PAGE, re.MULTILINE)
    assert {name: tuple(filter(None, given.split(", "))) for name, given in documented} == {
        each.name: each.arguments for each in HOOKS
    }
    assert all(inspect.getdoc(each) for each in HOOKS)


@pytest.mark.parametrize("kind", [Page, Visit, Panel, Alert, Text, Facts, Table, Link])
def test_each_value_is_documented_with_its_fields(kind: type[msgspec.Struct]) -> None:
    rows = re.findall(rf"^\| `{kind.__name__}\b.*$", PAGE, re.MULTILINE)
    assert len(rows) == 1
    for field in msgspec.structs.fields(kind):
        assert re.search(rf"\b{field.name}\b", rows[0]), field.name


def test_each_name_is_documented() -> None:
    for name in {*soniq_dashboard.__all__} - COUNTS:
        assert re.search(rf"\b{name}s?\b", PAGE), name
