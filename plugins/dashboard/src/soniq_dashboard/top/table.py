"""A table that fills its part of the screen: rows in columns, and one that is chosen."""

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import set_cell_size
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget

from .views import Column, Row, Style, View, one_line, ordered, widths

STYLES: dict[Style, str] = {"": "", "bad": "red", "warn": "yellow", "good": "green", "dim": "dim"}
CHOSEN = "reverse"


class Table(Widget, can_focus=True):
    """The rows of a view."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "move(-1000000)", show=False),
        Binding("end,G", "move(1000000)", show=False),
        Binding("enter", "open", show=False),
    ]

    class Opened(Message):
        """A row was opened."""

        def __init__(self, row: Row) -> None:
            super().__init__()
            self.row = row

    def __init__(self, view: View) -> None:
        super().__init__()
        self._rows: list[Row] = []
        self._first = 0  # the row in the first line
        self._chosen = 0
        self.begin(view)

    def begin(self, view: View) -> None:
        """Show this view, from its beginning."""
        self.view = view
        self._column, self._reverse = view.sort, False
        self._first = self._chosen = 0
        self._rows = []
        self._empty = "looking ..."
        self.refresh()

    def fill(self, rows: Sequence[Row], empty: str) -> None:
        """Show these rows, or a text where there are none; the one that was chosen stays chosen,
        wherever it is now.
        """
        self._empty = empty
        key = self._rows[self._chosen].key if self._rows else None
        self._rows = ordered(self.view, rows, self._column, reverse=self._reverse)
        places = [place for place, row in enumerate(self._rows) if row.key == key]
        self._choose(places[0] if places else self._chosen)

    def sort_by_next(self) -> None:
        """Sort by the next column."""
        self._column, self._reverse = (self._column + 1) % len(self.view.columns), False
        self.fill(self._rows, self._empty)

    def turn(self) -> None:
        """Sort the other way round."""
        self._reverse = not self._reverse
        self.fill(self._rows, self._empty)

    def action_move(self, by: int) -> None:
        self._choose(self._chosen + by)

    def action_page(self, by: int) -> None:
        self._choose(self._chosen + by * max(1, self._lines))

    def action_open(self) -> None:
        if self._rows:
            self.post_message(self.Opened(self._rows[self._chosen]))

    @property
    def _lines(self) -> int:
        """How many rows there is room for, below the head."""
        return max(1, self.size.height - 1)

    def _choose(self, place: int) -> None:
        self._chosen = max(0, min(place, len(self._rows) - 1))
        self._first = max(0, min(self._first, self._chosen, len(self._rows) - self._lines))
        self._first = max(self._first, self._chosen - self._lines + 1)
        self.refresh()

    def on_resize(self) -> None:
        self._choose(self._chosen)

    def render(self) -> Text:
        space = widths(self.view.columns, self.size.width)
        lines = [self._head(space)]
        for place, row in enumerate(self._rows[self._first : self._first + self._lines]):
            lines.append(self._line(row, space, chosen=self._first + place == self._chosen))
        if not self._rows:
            lines.append(Text(self._empty, style="dim"))
        return Text("\n").join(lines)

    def _head(self, space: Sequence[int]) -> Text:
        line = Text(style="bold")
        for place, (column, width) in enumerate(zip(self.view.columns, space, strict=False)):
            title = column.title
            if place == self._column:
                title += "▲" if column.right == self._reverse else "▼"
            line.append(("" if place == 0 else " ") + fitted(title, column, width))
        return line

    def _line(self, row: Row, space: Sequence[int], *, chosen: bool) -> Text:
        line = Text(style=CHOSEN if chosen else "")
        for place, (column, width, cell) in enumerate(
            zip(self.view.columns, space, row.cells, strict=False)
        ):
            line.append("" if place == 0 else " ")
            shown = fitted(one_line(cell.text), column, width)
            line.append(shown, style="" if chosen else STYLES[cell.style])
        return line


def fitted(text: str, column: Column, width: int) -> str:
    """A text in so many cells: a wide character takes two."""
    room = Text(text, no_wrap=True)
    room.truncate(width, overflow="ellipsis")
    short = room.plain
    if column.right:
        return " " * max(0, width - room.cell_len) + short
    return set_cell_size(short, width)
