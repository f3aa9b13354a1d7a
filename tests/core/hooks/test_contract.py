"""The contract itself: each hook says what it is, and the sets of hooks agree with it."""

import inspect
import re

import pytest

from soniq.hooks.specs import CONTRACT_VERSION, DEF_ONLY, KINDS, NEAREST_FIRST, SINCE, SPECS

ALL = {
    "database_url", "lifespan", "serializers", "result_stores", "provide", "configure_job", "background_tasks",
    "migrations", "register_commands", "adapt_connection", "around_enqueue", "dedup_key", "claimed", "around_job",
    "before_job", "after_job", "on_error", "retry_delay", "settle_tx", "settled",
}  # fmt: skip


def test_the_contract_has_these_hooks() -> None:
    assert set(SPECS) == ALL
    assert CONTRACT_VERSION == 1


@pytest.mark.parametrize("hook", sorted(SPECS))
def test_each_hook_says_in_its_docstring_what_it_is_and_what_an_error_does(hook: str) -> None:
    text = inspect.getdoc(SPECS[hook])
    assert text
    assert re.search("rror|fails", text) or hook in {"serializers", "result_stores"}


@pytest.mark.parametrize("hook", sorted(DEF_ONLY))
def test_a_hook_for_def_only_exists_and_says_so(hook: str) -> None:
    assert "def only" in (inspect.getdoc(SPECS[hook]) or "")


@pytest.mark.parametrize("hook", sorted(NEAREST_FIRST))
def test_a_hook_that_asks_the_nearest_first_exists_and_says_that_one_result_wins(hook: str) -> None:
    assert "First result wins" in (inspect.getdoc(SPECS[hook]) or "")


def test_no_other_hook_says_that_it_is_for_def_only_or_that_one_result_wins() -> None:
    texts = {hook: inspect.getdoc(spec) or "" for hook, spec in SPECS.items()}
    assert {hook for hook, text in texts.items() if "def only" in text} == DEF_ONLY
    assert {hook for hook, text in texts.items() if "First result wins" in text} == NEAREST_FIRST


def test_each_hook_has_a_kind_and_says_since_when_it_is_there() -> None:
    assert set(KINDS) == set(SINCE) == set(SPECS)
    assert {hook for hook, kind in KINDS.items() if kind == "first result"} == NEAREST_FIRST
    assert set(SINCE.values()) <= set(range(1, CONTRACT_VERSION + 1))
