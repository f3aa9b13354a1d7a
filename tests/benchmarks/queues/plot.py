"""Bars as SVG: plain, without a background, in greys and blues that read on light and on dark."""

from collections.abc import Sequence
from html import escape

from tests.benchmarks.queues.results import Row

WIDTH, LEFT, RIGHT = 720, 130, 110
TOP, STEP, BAR = 44, 30, 16
TEXT, SONIQ, OTHER, SPREAD = "#757b84", "#3b82f6", "#94a3b8", "#57606a"
"""The contrast of the text is about 4 on white and on near-black alike."""


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def svg(title: str, unit: str, rows: Sequence[Row]) -> str:
    """A bar for each median, a thin line from the lowest round to the highest, and the number."""
    scale = (WIDTH - LEFT - RIGHT) / max((row.highest for row in rows), default=1.0)
    height = TOP + STEP * len(rows) + 8
    better = "more" if unit == "jobs/s" else "less"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" role="img" font-family="sans-serif" font-size="13" fill="{TEXT}">',
        f"<title>{escape(title)}</title>",
        f'<text x="0" y="18" font-size="15" font-weight="bold">{escape(title)}</text>',
        f'<text x="{WIDTH}" y="18" text-anchor="end">{unit}, {better} is better</text>',
    ]
    for place, row in enumerate(rows):
        top = TOP + STEP * place
        middle = top + BAR / 2
        end, low, high = (LEFT + each * scale for each in (row.median, row.lowest, row.highest))
        colour = SONIQ if row.queue == "soniq" else OTHER
        parts += [
            f'<text x="{LEFT - 10}" y="{middle + 5:g}" text-anchor="end">{escape(row.queue)}</text>',
            f'<rect x="{LEFT}" y="{top}" width="{end - LEFT:.1f}" height="{BAR}" rx="2"'
            f' fill="{colour}"/>',
            f'<path d="M{low:.1f} {middle:g}H{high:.1f}M{low:.1f} {middle - 4:g}v8M{high:.1f}'
            f' {middle - 4:g}v8" stroke="{SPREAD}" stroke-width="1.5"/>',
            f'<text x="{max(end, high) + 8:.1f}" y="{middle + 5:g}">{number(row.median)}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
