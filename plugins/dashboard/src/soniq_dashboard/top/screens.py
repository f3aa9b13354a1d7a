"""The screens of `soniq top`."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from soniq import Search, Soniq
from soniq.plugin import plain

from .header import header
from .job import told
from .look import Look, Looker
from .table import Table
from .views import FOUND, OF_WORKER, VIEWS, View, empty_of, one_line

LIMIT = 15.0
"""Seconds that one look may take in all."""
KEYS = """\
1 2 3 4 5, Tab   the views: queues, what runs, failures, workers, names
Up Down k j      choose a row; also PageUp, PageDown, Home and End
Enter            open it: a job, or the jobs of a queue, a name or a worker
Esc              back
s  S             sort by the next column; the other way round
p, Space         pause and go on
r                look again now
?                this help
q, Ctrl-C        quit

WAITING jobs are due, SCHED are due later. 10,000+ is 10,000 or more.
DONE/M and FAIL/M are a minute's jobs that are done, and that died: of the last
minute, or since the first look, once that is ten seconds ago. Where so many
jobs are kept that they are not counted, they are of some minutes, as workers
counted them, and FAIL/M has all attempts that failed. What runs is as of the
workers' last heartbeats.
"""


Read = Callable[[], Coroutine[Any, Any, str]]


class Reader(Screen[None]):
    """A text that can be scrolled."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace,enter,question_mark", "dismiss", show=False),
        Binding("k", "scroll(-1)", show=False),
        Binding("j", "scroll(1)", show=False),
    ]

    def __init__(self, title: str, text: str, read: Read | None = None) -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._read = read
        """What reads it again."""

    def compose(self) -> ComposeResult:
        yield Static(Text(f"{self._title}   Esc: back", style="bold"), classes="line")
        yield Static(Text(""), id="trouble")
        with VerticalScroll():
            yield Static(Text(self._text), id="text")

    async def refill(self) -> None:
        """Read it again. Raises what the reading raises."""
        if self._read is not None:
            self._write("#text", Text(await self._read()))

    def say(self, trouble: Text) -> None:
        """Say why nothing new is read."""
        self._write("#trouble", trouble)

    def _write(self, where: str, text: Text) -> None:
        for each in self.query(where).results(Static):  # none where it was left meanwhile
            each.update(text)

    def action_scroll(self, by: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)


class Top(App[None]):
    """Looks at the database again and again, and shows it."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { background: ansi_default; color: ansi_default; }
    #header { height: auto; min-height: 4; max-height: 60%; }
    #trouble { height: auto; min-height: 1; max-height: 6; }
    .line { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    Table, VerticalScroll { height: 1fr; }
    VerticalScroll { scrollbar-size-vertical: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+c", "quit", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", show=False),
        *[Binding(str(place + 1), f"view({place})", show=False) for place in range(len(VIEWS))],
        Binding("tab,right", "next_view(1)", show=False, priority=True),
        Binding("shift+tab,left", "next_view(-1)", show=False, priority=True),
        Binding("escape,backspace", "leave", show=False),
        Binding("s", "sort", show=False),
        Binding("S", "turn", show=False),
        Binding("p,space", "pause", show=False),
        Binding("r", "look", show=False),
        Binding("question_mark,h", "keys", show=False),
    ]

    def __init__(self, app: Soniq, interval: float) -> None:
        super().__init__(ansi_color=True)
        self._soniq = app
        self._interval = interval
        self._looker = Looker(app)
        self._look: Look | None = None
        self._looking = asyncio.Lock()
        self._paused = False
        self._trouble: tuple[datetime, str] | None = None
        """Since when no look has succeeded, and why."""
        self._view = VIEWS[0]
        self._search: tuple[str, Search] | None = None
        """What is searched for, in words too, where that is shown instead of the view."""
        self._looked_for: tuple[str, Search] | None = None

    def compose(self) -> ComposeResult:
        yield Static(Text("looking ..."), id="header")
        yield Table(self._view)
        yield Static(Text(""), id="keys", classes="line")

    def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(each, self.exit)
        self.set_interval(self._interval, self._tick)
        self._tick()

    @property
    def table(self) -> Table:
        return self.screen_stack[0].query_one(Table)

    # --- looking ---------------------------------------------------------------------------------

    def _tick(self) -> None:
        if not self._paused and not self._looking.locked():
            self.action_look()
        self._show()

    def action_look(self) -> None:
        """Look now, beside what is shown."""
        self.run_worker(self._look_again())

    async def _look_again(self) -> None:
        async with self._looking:
            try:
                async with asyncio.timeout(LIMIT):
                    if isinstance(self.screen, Reader):
                        await self.screen.refill()
                    search = self._search
                    self._look = await self._looker.look(search and search[1])
                    self._looked_for = search
                self._trouble = None
            except Exception as error:
                since = self._trouble[0] if self._trouble else datetime.now(UTC)
                self._trouble = since, f"{type(error).__name__}: {error}"
        self._show(new=True)

    # --- showing ---------------------------------------------------------------------------------

    def _show(self, *, new: bool = False) -> None:
        if not self.is_running:
            return
        base = self.screen_stack[0]
        base.query_one("#header", Static).update(Text("\n").join(self._header()))
        known = self._search in (None, self._looked_for)
        if self._look is not None and new and known:
            view = self.table.view
            self.table.fill(view.rows(self._look), empty_of(view, self._look))
        base.query_one("#keys", Static).update(self._keys())
        if isinstance(self.screen, Reader):
            self.screen.say(self._why())

    def _header(self) -> list[Text]:
        lines = header(self._look) if self._look else [Text(""), Text(""), Text("looking ...")]
        return [self._title(), *lines[:-1], self._why() or lines[-1]]

    def _why(self) -> Text:
        """Why there is nothing new; empty where there is."""
        if self._trouble is None:
            return Text("")
        since, why = self._trouble
        text = f"nothing new since {since.astimezone():%H:%M:%S}: {why}"
        return Text(one_line(text), style="bold red")

    def _title(self) -> Text:
        line = Text("soniq top", style="bold")
        at = f"{self._look.at.astimezone():%H:%M:%S}" if self._look else ""
        line.append(f"  {at}  every {self._interval:g} s", style="not bold dim")
        if self._paused:
            line.append("  PAUSED", style="yellow")
        return line

    def _keys(self) -> Text:
        line = Text()
        if self._search is not None:
            line.append(one_line(self._search[0]), style="reverse")
            line.append("  Esc back")
        else:
            for place, view in enumerate(VIEWS):
                style = "reverse" if view is self._view else ""
                line.append(f"{place + 1} {view.title}", style=style)
                line.append("  ")
        line.append("  ? help  q quit", style="dim")
        return line

    # --- keys ------------------------------------------------------------------------------------

    def action_view(self, place: int) -> None:
        if isinstance(self.screen, Reader):
            self.pop_screen()
        self._view, self._search = VIEWS[place], None
        self._begin(self._view)

    def action_next_view(self, by: int) -> None:
        if len(self.screen_stack) == 1:
            self.action_view((VIEWS.index(self._view) + by) % len(VIEWS))

    def action_leave(self) -> None:
        if self._search is not None:
            self.action_view(VIEWS.index(self._view))

    def action_sort(self) -> None:
        self.table.sort_by_next()

    def action_turn(self) -> None:
        self.table.turn()

    def action_pause(self) -> None:
        self._paused = not self._paused
        self._tick()

    def action_keys(self) -> None:
        self.push_screen(Reader("soniq top: keys", KEYS))

    def on_table_opened(self, message: Table.Opened) -> None:
        kind, which = message.row.opens
        if kind == "job":
            read = partial(told, self._soniq, which)
            self.push_screen(Reader(f"job {which}", "looking ...", read))
            self.action_look()
            return
        searches = {
            "queue": Search(queues=[which]),
            "name": Search(names=[which]),
            "worker": Search(worker_id=which, order="started"),
        }
        self._search = f"{kind} {plain(which)}", searches[kind]
        self._begin(OF_WORKER if kind == "worker" else FOUND)

    def _begin(self, view: View) -> None:
        """Show this view: what is known of it, and then what a new look tells."""
        self.table.begin(view)
        self._show(new=True)
        if self._search is not None:
            self.action_look()
