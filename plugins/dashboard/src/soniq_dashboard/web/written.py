"""What plugins give to show, checked and written as text, before it comes to a template."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import quote, urlencode

from soniq_dashboard.content import Facts, Link, Size, Table, Text

from .render import MOST_SHOWN, duration, moment, number, size, visible

MOST_BLOCKS = 50
MOST_ROWS = 500
MOST_COLUMNS = 20
LONGEST_CELL = 300
"""Characters of a value in a table or beside its name."""
SHORT = 24
"""Characters of a value that stays in one line."""
LONGEST_ADDRESS = 2_000


@dataclass(frozen=True, slots=True)
class Value:
    """A value as it is shown."""

    text: str
    to: str | None = None
    """Where it leads: a path of the dashboard, or an address elsewhere."""
    elsewhere: bool = False
    end: bool = False
    """Whether it stands at the end of its column, as numbers do."""
    long: bool = False
    """Whether it may take several lines."""


@dataclass(frozen=True, slots=True)
class WrittenBlock:
    """A block as the template has it; of each kind some fields are not needed."""

    kind: str
    """text, code, facts, table or link."""
    text: str = ""
    title: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Value]] = ()
    facts: Sequence[tuple[str, Value]] = ()
    link: Value | None = None
    more: bool = False
    """Whether there are more rows than are shown."""


@dataclass(frozen=True, slots=True)
class WrittenPanel:
    """A panel as the template has it."""

    title: str
    blocks: Sequence[WrittenBlock]


def blocks(given: object) -> Sequence[WrittenBlock]:
    """What a plugin gave, ready to be shown. Raises for what cannot be, whatever Python raises."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise TypeError(f"blocks are a list of Text, Facts, Table and Link; got {_kind(given)}")
    return [_block(each) for each in islice(given, MOST_BLOCKS)]


def value(given: object) -> Value:
    """A value, ready to be shown."""
    if isinstance(given, Link):
        return link(given)
    if given is None or isinstance(given, bool):
        return Value({None: "–", True: "yes", False: "no"}[given])
    if isinstance(given, int | float):
        return Value(_cut(_number(given), LONGEST_CELL), end=True)
    if isinstance(given, Size):
        return Value(size(given.count), end=True)
    if isinstance(given, timedelta):
        return Value(duration(given.total_seconds()), end=True)
    if isinstance(given, datetime):
        if given.utcoffset() is None:
            raise ValueError(f"a time has a zone; {given} has none")
        return Value(moment(given))
    text = _cut(str(given), LONGEST_CELL)
    return Value(text, long=len(text) > SHORT)


def link(given: Link) -> Value:
    """A link, ready to be shown."""
    if not isinstance(given, Link):
        raise TypeError(f"this is a Link; got {_kind(given)}")
    to = quote(str(given.to), safe="/-._~:@!$&'()*+,;=%?#[]")
    parameters = {name: each for name, each in given.parameters.items() if each not in (None, "")}
    if parameters:
        to += ("&" if "?" in to else "?") + urlencode(parameters, doseq=True)
    if len(to) > LONGEST_ADDRESS:
        raise ValueError(f"an address has at most {LONGEST_ADDRESS} characters")
    text = _cut(str(given.text), LONGEST_CELL)
    return Value(text, to, given.elsewhere, long=len(text) > SHORT)


def _block(given: object) -> WrittenBlock:
    if isinstance(given, Text):
        kind = "code" if given.code else "text"
        return WrittenBlock(kind, text=_cut(str(given.text), MOST_SHOWN))
    if isinstance(given, Facts):
        facts = islice(given.items.items(), MOST_ROWS)
        return WrittenBlock("facts", facts=[(label(name), value(each)) for name, each in facts])
    if isinstance(given, Table):
        return _table(given)
    if isinstance(given, Link):
        return WrittenBlock("link", link=link(given))
    raise TypeError(f"a block is a Text, Facts, Table or Link; got {_kind(given)}")


def _table(given: Table) -> WrittenBlock:
    columns = [label(each) for each in given.columns]
    if not 1 <= len(columns) <= MOST_COLUMNS:
        raise ValueError(f"a table has 1 to {MOST_COLUMNS} columns; this one has {len(columns)}")
    rows = [_row(each, len(columns)) for each in islice(given.rows, MOST_ROWS + 1)]
    return WrittenBlock(
        "table",
        text=_cut(str(given.empty), LONGEST_CELL),
        title="" if given.title is None else label(given.title),
        columns=columns,
        rows=rows[:MOST_ROWS],
        more=len(rows) > MOST_ROWS,
    )


def _row(given: Sequence[object], columns: int) -> Sequence[Value]:
    cells = [value(each) for each in given]
    if len(cells) != columns:
        raise ValueError(f"a row has a value for each of the {columns} columns; got {len(cells)}")
    return cells


def label(given: object) -> str:
    """What something is called: never empty, as screen readers read it out."""
    text = _cut(str(given), LONGEST_CELL)
    if not text.strip():
        raise ValueError("a column, a fact and a title have a name")
    return text


def _number(given: float) -> str:
    if isinstance(given, int) or given.is_integer():
        return number(int(given))
    return f"{given:,.3f}".rstrip("0")


def _cut(text: str, most: int) -> str:
    """Plain text, also of what says that it is safe HTML; cut where it is long."""
    text = str.__str__(text)
    plain = str(visible(text[:most]))
    return plain if len(text) <= most else f"{plain}…"


def _kind(given: Any) -> str:
    return type(given).__name__
