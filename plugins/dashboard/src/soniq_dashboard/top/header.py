"""The lines above the table: how all queues stand together, how fast they are worked off, and what
is wrong.
"""

from collections.abc import Sequence

from rich.text import Text

from soniq import Count
from soniq_dashboard.figures import short_duration, short_number

from .look import Look
from .views import figures_of, one_line

BARS = "▁▂▃▄▅▆▇█"


def header(look: Look) -> list[Text]:
    """Two lines of figures, and one of what needs an operator."""
    return [_figures(look), _speed(look), _alerts(look)]


def _figures(look: Look) -> Text:
    line = Text()
    for name, value in figures_of(look):
        number = value.value if isinstance(value, Count) else value
        bad = name == "dead in 1 h" and number
        line.append(f"{name} ", style="dim")
        line.append(short_number(value), style="bold red" if bad else "bold")
        line.append("  ")
    return line


def _speed(look: Look) -> Text:
    rate, waits = look.rates.total, [each.oldest_waiting for each in look.queues]
    line = Text()
    line.append("done/min ", style="dim")
    line.append(short_number(rate.done), style="bold")
    line.append("  failed/min ", style="dim")
    line.append(short_number(rate.failed), style="bold red" if rate.failed else "bold")
    line.append("  oldest ", style="dim")
    line.append(short_duration(max(waits, default=0.0) or None), style="bold")
    if look.rates.minutes:
        line.append(f"  {bars(look.rates.minutes[-30:])}", style="green")
    return line


def bars(values: Sequence[int]) -> str:
    """Numbers as the heights of blocks: the highest is the highest block, and 0 a space."""
    most = max(values, default=0)
    return "".join(BARS[(each * len(BARS) - 1) // most] if each > 0 else " " for each in values)


def _alerts(look: Look) -> Text:
    alerts = look.attention
    if not alerts:
        return Text("nothing needs attention", style="green")
    more = f" (and {len(alerts) - 1} more)" if len(alerts) > 1 else ""
    style = "bold red" if alerts[0].level == "bad" else "yellow"
    return Text(one_line(alerts[0].text) + more, style=style)
