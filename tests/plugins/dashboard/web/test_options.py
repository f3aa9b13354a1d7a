"""The options of a job, in words."""

from datetime import timedelta
from typing import Any

import pytest

from soniq import Backoff, Soniq, Unique
from soniq_dashboard.web.options import options


def told(app: Soniq, **given: Any) -> dict[str, tuple[str, bool]]:
    @app.job(name="work", **given)
    async def work(n: int) -> None: ...

    found = options(app, "work")
    assert found is not None
    return {each.name: (each.text, each.said) for each in found}


def test_what_a_job_says_is_told_apart_from_defaults(app: Soniq) -> None:
    found = told(app, queue="mail", timeout=90, max_attempts=3, tags=["a", "b"], hide=["token"])
    place = found.pop("Function")[0]
    assert place.endswith("told.<locals>.work")
    assert found == {
        "Queue": ("mail", True),
        "Priority": ("0", False),
        "Attempts": ("3", True),
        "Retry": ("after about 1.0 s, then × 2 up to 1 h 0 m", False),
        "Timeout": ("1 m 30 s", True),
        "Kept": ("7 d 0 h", False),
        "Tags": ("a, b", True),
        "Hidden": ("token", True),
    }
    assert options(app, "unheard-of") is None


def later(ctx: Any, error: Any) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("option", "value", "name", "text"),
    [
        ("retry", 30, "Retry", "after 30.0 s"),
        ("retry", [1, timedelta(minutes=5)], "Retry", "after 1.0 s, 5 m 0 s, and so on"),
        ("retry", Backoff(first=2, factor=1), "Retry", "after about 2.0 s"),
        ("retry", later, "Retry", f"as {__name__}.later says"),
        ("priority", 0, "Priority", "0"),
        ("unique", True, "Unique", "by all arguments, until it is finished"),
        ("unique", Unique(by=["n"], scope="queued"), "Unique",
         "by n, until it is claimed; a duplicate: keep"),
        ("unique", Unique(by=()), "Unique", "one of its name, until it is finished; a duplicate: keep"),
        ("expires", 3_600, "Expires", "after 1 h 0 m"),
        ("keep", timedelta(days=2), "Kept", "2 d 0 h"),
        ("keep_dead", 60, "Kept if dead", "1 m 0 s"),
        ("tags", [f"t{n}" for n in range(22)], "Tags", ", ".join(f"t{n}" for n in range(20)) + " and 2 more"),
    ],
)  # fmt: skip
def test_each_option_is_told_in_words(
    app: Soniq, option: str, value: Any, name: str, text: str
) -> None:
    assert told(app, **{option: value})[name] == (text, True)
