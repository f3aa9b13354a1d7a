"""One look as text."""

from collections.abc import Iterator

from soniq import Soniq
from soniq_dashboard.figures import short_number

from .look import Look, Looker
from .views import VIEWS, View, empty_of, figures_of, one_line, ordered

LONGEST = 60
"""Characters of a text in a column."""


async def snapshot(app: Soniq) -> str:
    """What there is now. Raises `DatabaseError`."""
    look = await Looker(app).look()
    figures = [f"{name} {short_number(value)}" for name, value in figures_of(look)]
    parts = [f"{look.at.astimezone():%Y-%m-%d %H:%M:%S}  {'  '.join(figures)}"]
    if look.attention:
        parts.append("\n".join(one_line(each.text) for each in look.attention))
    parts += ["\n".join(_lines(view, look)) for view in VIEWS]
    return "\n\n".join(parts)


def _lines(view: View, look: Look) -> Iterator[str]:
    yield f"{view.title}:"
    rows = ordered(view, view.rows(look), view.sort, reverse=False)
    if not rows:
        yield f"  {empty_of(view, look)}"
        return
    cells = [[one_line(cell.text)[:LONGEST] for cell in row.cells] for row in rows]
    lines = [[column.title for column in view.columns], *cells]
    widths = [max(len(line[place]) for line in lines) for place in range(len(view.columns))]
    for line in lines:
        columns = zip(line, widths, view.columns, strict=True)
        text = "  ".join(
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in columns
        )
        yield f"  {text}".rstrip()
