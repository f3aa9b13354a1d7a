"""What is shown of a look, and how it is fitted into a line."""

import pytest

from soniq import Count
from soniq_dashboard.durations import Durations
from soniq_dashboard.figures import about, short_about, short_duration, short_number
from soniq_dashboard.top.header import bars
from soniq_dashboard.top.table import fitted
from soniq_dashboard.top.views import (
    FAILURES,
    QUEUES,
    VIEWS,
    Column,
    Row,
    View,
    figure,
    one_line,
    ordered,
    text,
    widths,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"), (0, "0"), (0.4, "0.4"), (12.3, "12"), (12_345, "12,345"), (123_456, "123k"),
        (1_234_567, "1.2M"), (5_000_000_000, "5.0G"), (Count(value=50_000, exact=False), "50,000+"),
        (Count(value=300_000, exact=False), "300k+"), (Count(value=7, exact=True), "7"),
    ],
)  # fmt: skip
def test_numbers_take_little_room(value: float | Count | None, shown: str) -> None:
    assert short_number(value) == shown


def test_so_do_durations() -> None:
    values = (None, 0.0014, 12.3, 200, 15_000, 200_000)
    shown = [short_duration(each) for each in values]
    assert shown == ["–", "1.4ms", "12.3s", "3m20s", "4h10m", "2d7h"]


def test_what_is_in_the_first_bucket_is_only_known_to_be_that_short() -> None:
    first, second = (Durations(0.1, each).quantile(0.5) for each in ([9], [0, 9]))
    assert [about(each) for each in (first, second, None)] == ["< 5 ms", "6.1 ms", "–"]
    assert short_about(first) == "<5ms"


@pytest.mark.parametrize(
    ("value", "width", "shown"),
    [
        ("abc", 5, "abc  "), ("abcdef", 5, "abcd…"), ("长名字", 6, "长名字"), ("长名字", 5, "长名…"),
        ("长名字", 4, "长 …"), ("[red]x", 8, "[red]x  "),
    ],
)  # fmt: skip
def test_a_text_takes_the_cells_of_its_column(value: str, width: int, shown: str) -> None:
    assert fitted(value, Column("", width, right=False), width) == shown


def test_a_number_stands_at_the_right() -> None:
    assert fitted("7", Column("", 4), 4) == "   7"
    assert fitted("字", Column("", 4), 4) == "  字"


def test_what_moves_a_cursor_or_turns_a_text_around_is_written_out() -> None:
    assert one_line("a\nb\x1b[31m\u202e\x00\r\x9b") == r"a b\x1b[31m\u202e\x00\r\x9b"


@pytest.mark.parametrize("view", VIEWS, ids=[view.title for view in VIEWS])
def test_the_columns_of_each_view_fill_eighty_cells_and_any_other_width(view: View) -> None:
    for space in (80, 81, 120, 200):
        found = widths(view.columns, space)
        assert len(found) == len(view.columns)
        assert space - 2 <= sum(found) + len(found) - 1 <= space


def test_columns_for_which_there_is_no_room_are_left_out() -> None:
    assert len(widths(QUEUES.columns, 40)) == 4
    assert len(widths(QUEUES.columns, 3)) == 1


def test_what_is_left_is_shared_by_parts() -> None:
    job, *_, error = widths(FAILURES.columns, 120)
    assert (job, error) == (14 + 15, 20 + 46)


def test_rows_are_sorted_by_a_column_and_unknown_numbers_come_last() -> None:
    values = {"a": 3, "b": None, "c": 10}
    view = View("", [Column("A", 5, right=False), Column("B", 5)], lambda _: [], 1, "")
    rows = [
        Row(name, [text(name), figure(value)], ("queue", name)) for name, value in values.items()
    ]

    def sorted_by(column: int, *, reverse: bool) -> str:
        return "".join(row.key for row in ordered(view, rows, column, reverse=reverse))

    assert sorted_by(1, reverse=False) == "cab"
    assert sorted_by(1, reverse=True) == "bac"
    assert sorted_by(0, reverse=False) == "abc"
    assert sorted_by(0, reverse=True) == "cba"


def test_numbers_are_drawn_as_heights() -> None:
    assert bars([0, 1, 4, 8]) == " ▁▄█"
    assert bars([0, 0]) == "  "
    assert bars([]) == ""
