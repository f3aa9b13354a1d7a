"""What plugins give the dashboard to show: values, which it writes as text.

They need none of the packages of the pages, so that a plugin makes them wherever the dashboard
asks for them.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import msgspec

from soniq import InvalidOption


class Link(msgspec.Struct, frozen=True):
    """A text that leads somewhere. Raises `InvalidOption`.

    `to`: a page of the dashboard by its path, such as `/jobs/<id>` or `/queues`, wherever it is
    mounted, or an address elsewhere with `https://` or `http://`. `parameters` are added to it, as
    in `Link("dead", "/jobs", {"q": "status:dead"})`.
    """

    text: str
    to: str
    parameters: Mapping[str, object] = {}

    def __post_init__(self) -> None:
        is_path = str(self.to).startswith("/") and not str(self.to).startswith("//")
        if not is_path and not self.elsewhere:
            raise InvalidOption(
                f"a link leads to a path or to an address with https://; got {self.to!r:.100}",
                option="to",
            )

    @property
    def elsewhere(self) -> bool:
        """Whether it leads away from the dashboard."""
        try:
            parts = urlsplit(str(self.to))
        except ValueError:
            return False
        return parts.scheme in ("https", "http") and bool(parts.netloc)


class Size(msgspec.Struct, frozen=True):
    """A number of bytes, shown as `12.3 kB`."""

    count: int


Cell = str | int | float | bool | datetime | timedelta | Link | Size | None
"""A value: times have a zone, and are shown as seen from now; None is shown as a dash, and what is
of none of these types as its `str`.
"""


class Text(msgspec.Struct, frozen=True):
    """A paragraph; `code`: lines as they are, in a box, such as JSON."""

    text: str
    code: bool = False


class Facts(msgspec.Struct, frozen=True):
    """Values by what they are called, beside each other."""

    items: Mapping[str, Cell]


class Table(msgspec.Struct, frozen=True):
    """Rows of values under the names of their columns, the first 500; `empty` is shown where there
    are none, and `title` above.
    """

    columns: Sequence[str]
    rows: Iterable[Sequence[Cell]]
    title: str | None = None
    empty: str = "There is nothing here."


Block = Text | Facts | Table | Link
"""What pages and panels are made of; a link by itself is shown as a button."""
