"""How values are written."""

from datetime import UTC, datetime, timedelta

import pytest
from markupsafe import escape

from soniq import Count
from soniq_dashboard.figures import duration, number, size
from soniq_dashboard.web.render import clock, environment, moment, pretty, visible

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"), (float("inf"), "–"), (0, "0.0 ms"), (0.0014, "1.4 ms"), (0.32, "320 ms"),
        (4.21, "4.2 s"), (60, "1 m 0 s"), (200, "3 m 20 s"), (7_500, "2 h 5 m"),
        (90_000, "1 d 1 h"), (-4, "-4.0 s"),
    ],
)  # fmt: skip
def test_a_time_has_two_units(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(None, "–"), (7, "7 bytes"), (2_048, "2.0 kB"), (3 << 30, "3.0 GB")]
)
def test_bytes_have_a_unit(count: int | None, text: str) -> None:
    assert size(count) == text


def test_numbers_have_their_thousands_apart() -> None:
    assert [number(each) for each in (0, 1_234_567, 1.25, None)] == ["0", "1,234,567", "1.2", "–"]
    counts = [Count(value=10_000, exact=False), Count(value=7, exact=True)]
    assert [number(each) for each in counts] == ["10,000+", "7"]


def test_a_moment_is_told_from_now_with_the_time_itself_beside_it() -> None:
    past, to_come = NOW - timedelta(seconds=90), NOW + timedelta(seconds=5)
    assert "1 m 30 s ago" in moment(past, NOW)
    assert 'title="2030-01-31 11:58:30 UTC"' in moment(past, NOW)
    assert "in 5 s" in moment(to_come, NOW)


def test_a_clock_is_in_utc() -> None:
    at = NOW.astimezone(tz=None)
    assert 'datetime="2030-01-31T12:00:00.000Z"' in clock(at)
    assert "2030-01-31 12:00:00 UTC" in clock(at)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain é 漢 🎉", "plain é 漢 🎉"), ("a\u202eb", "a\\u202eb"), ("a\x1b[1m", "a\\x1b[1m"),
        ("a\nb\tc", "a\nb\tc"), ("\u200b", "\\u200b"), ("\x7f", "\\x7f"), (None, "–"), (7, 7),
    ],
)  # fmt: skip
def test_characters_that_cannot_be_seen_are_written_out(value: object, shown: object) -> None:
    assert visible(value) == shown


def test_a_long_value_is_cut() -> None:
    assert pretty("a" * 5_000).endswith("… 1,002 more characters")
    assert pretty({"a": [2**63]}) == '{\n  "a": [\n    9223372036854775808\n  ]\n}'


def test_what_a_template_is_given_is_escaped() -> None:
    made = environment().from_string("{{ a }}|{{ b|duration }}|{{ c|pretty }}")
    text = "<b>'\""
    assert made.render(a=text, b=1, c=text).startswith(f"{escape(text)}|1.0 s|")
    assert "<b>" not in made.render(a=text, b=1, c=text)


def test_a_second_dashboard_compiles_no_template_again() -> None:
    assert environment().get_template("base.html") is environment().get_template("base.html")
