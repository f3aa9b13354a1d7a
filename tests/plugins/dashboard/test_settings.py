"""The plugin's settings."""

from datetime import timedelta
from typing import Any

import pytest

from soniq import ConfigurationError
from soniq_dashboard import Dashboard


@pytest.mark.parametrize(
    ("name", "value"),
    [("keep_1m", "3600"), ("keep_10m", "1e6"), ("keep_1h", "1e7"), ("interval", "30")],
)
def test_an_argument_counts_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    variable = f"SONIQ_DASHBOARD_{name.upper()}"
    Dashboard(**{name: float(value)})
    monkeypatch.setenv(variable, value)
    Dashboard()
    monkeypatch.setenv(variable, "soon")
    with pytest.raises(ConfigurationError, match=f"{variable} is a number of seconds.*'soon'"):
        Dashboard()
    Dashboard(**{name: float(value)})


@pytest.mark.parametrize(
    "given",
    [{"keep_1m": 60}, {"keep_10m": -1}, {"interval": 0.5}, {"interval": 601}, {"keep_1h": "x"}],
)
def test_what_is_out_of_bounds_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=rf"Dashboard\({next(iter(given))}=\) is a number"):
        Dashboard(**given)


def test_a_timedelta_is_taken_for_seconds() -> None:
    dashboard = Dashboard(keep_1m=timedelta(hours=2), interval=timedelta(seconds=30))
    assert (dashboard._keep[1], dashboard.interval) == (7_200, 30)


def test_what_is_not_said_has_a_default() -> None:
    dashboard = Dashboard()
    assert dashboard._keep == {1: 172_800, 10: 691_200, 60: 7_776_000}
    assert dashboard.interval == 60
