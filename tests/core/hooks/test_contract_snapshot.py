"""The contract does not change unannounced: what it is now is what contract.txt says."""

import difflib

import msgspec
import pytest
from msgspec.structs import replace

import soniq
from soniq import plugin
from soniq.hooks import specs
from soniq.hooks.hook import Hook

from .snapshot import FILE, contract, members

HOW = """the contract with plugins has changed. If that is meant, announce it:
1. a change that an existing plugin can notice, or a new hook, raises CONTRACT_VERSION (a new hook has it as `since`);
2. CHANGELOG.md says what changed, and from which version of soniq-core on;
3. `python -m tests.core.hooks.snapshot` writes it down.
"""


def test_the_contract_is_what_was_announced() -> None:
    announced, found = FILE.read_text(encoding="utf-8"), contract()
    difference = difflib.unified_diff(
        announced.splitlines(), found.splitlines(), "announced", "found", lineterm=""
    )
    assert found == announced, HOW + "\n".join(difference)


def without_argument(app: object) -> None: ...


SETTLED = specs.HOOKS["settled"]


@pytest.mark.parametrize(
    "hook",
    [
        replace(SETTLED, function=without_argument),
        replace(SETTLED, name="brand_new"),
        replace(SETTLED, kind="collected"),
        replace(SETTLED, since=2),
        replace(SETTLED, def_only=True),
    ],
    ids=["argument", "hook", "kind", "since", "def only"],
)
def test_a_change_of_a_hook_is_noticed(monkeypatch: pytest.MonkeyPatch, hook: Hook) -> None:
    before = contract()
    monkeypatch.setattr(specs, "HOOKS", {**specs.HOOKS, hook.name: hook})
    assert contract() != before


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        (specs, "CONTRACT_VERSION", specs.CONTRACT_VERSION + 1),
        (soniq, "__all__", [*soniq.__all__, "more"]),
        (plugin, "__all__", [*plugin.__all__, "more"]),
    ],
    ids=["version", "name", "name of plugin"],
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
    assert list(members(Value)) == [
        "first: int",
        "second: str = 'x'",
        "def public(self, argument: int) -> str",
    ]
    assert list(members(Plain)) == [
        "self.given", "self.found: int | None", "def __init__(self, given: int) -> None",
        "@property def seen(self) -> int",
    ]  # fmt: skip


def test_the_public_attributes_of_a_context_are_all_written_down() -> None:
    written = contract().partition("class JobContext\n")[2].partition("\n\n")[0]
    public = {name for name in dir(soniq.JobContext) if not name.startswith("_")}
    assert [
        name for name in public if f"self.{name}" not in written and f"def {name}(" not in written
    ] == []
