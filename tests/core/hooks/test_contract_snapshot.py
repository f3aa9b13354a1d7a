"""The contract does not change unannounced: what it is now is what contract.txt says."""

import difflib
from typing import Any

import msgspec
import pytest

import soniq
from soniq.hooks import specs

from .snapshot import FILE, contract, members

HOW = """the contract with plugins has changed. If that is meant, announce it:
1. a change that an existing plugin can notice, or a new hook, raises CONTRACT_VERSION (a new hook has it in SINCE);
2. CHANGELOG.md says what changed, and from which version of soniq-core on;
3. `python -m tests.core.hooks.snapshot` writes it down.
"""


def test_the_contract_is_what_was_announced() -> None:
    announced, found = FILE.read_text(encoding="utf-8"), contract()
    difference = difflib.unified_diff(announced.splitlines(), found.splitlines(), "announced", "found", lineterm="")
    assert found == announced, HOW + "\n".join(difference)


def without_argument(app: object) -> None: ...


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        (specs.SPECS, "settled", without_argument),
        (specs.SPECS, "brand_new", without_argument),
        (specs.KINDS, "settled", "collected"),
        (specs.SINCE, "settled", 2),
    ],
    ids=["argument", "hook", "kind", "since"],
)
def test_a_change_of_a_hook_is_noticed(
    monkeypatch: pytest.MonkeyPatch, where: dict[str, Any], name: str, value: object
) -> None:
    before = contract()
    for others in (specs.KINDS, specs.SINCE):
        monkeypatch.setitem(others, name, others.get(name, 1))
    monkeypatch.setitem(where, name, value)
    assert contract() != before


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        (specs, "DEF_ONLY", specs.DEF_ONLY | {"settled"}),
        (specs, "CONTRACT_VERSION", 2),
        (soniq, "__all__", [*soniq.__all__, "more"]),
    ],
    ids=["def only", "version", "name"],
)
def test_a_change_around_the_hooks_is_noticed(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, value: object
) -> None:
    before = contract()
    monkeypatch.setattr(owner, name, value)
    assert contract() != before


class Value(msgspec.Struct):
    """As a value of the contract is written."""

    first: int
    second: str = "x"

    def public(self, argument: int) -> str:
        return self._private() * argument

    def _private(self) -> str:
        return self.second


class Plain:
    """As a class of the contract is written."""

    def __init__(self, given: int) -> None:
        self.given = given
        self.found: int | None = None
        self._hidden = 0

    @property
    def seen(self) -> int:
        return self._hidden


def test_every_public_member_of_a_value_is_written_down() -> None:
    assert list(members(Value)) == ["first: int", "second: str = 'x'", "def public(self, argument: int) -> str"]
    assert list(members(Plain)) == [
        "self.given", "self.found: int | None", "def __init__(self, given: int) -> None",
        "@property def seen(self) -> int",
    ]  # fmt: skip


def test_the_public_attributes_of_a_context_are_all_written_down() -> None:
    written = contract().partition("class JobContext\n")[2].partition("\n\n")[0]
    public = {name for name in dir(soniq.JobContext) if not name.startswith("_")}
    assert [name for name in public if f"self.{name}" not in written and f"def {name}(" not in written] == []
