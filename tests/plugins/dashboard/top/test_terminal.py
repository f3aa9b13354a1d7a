"""`soniq top` in a terminal, as a person sees it: on a real database, beside a real worker."""

import asyncio
import os
import re
import signal

import pytest

from soniq import Soniq
from tests.support.jobs import working
from tests.support.proxy import Proxy

from .conftest import Open
from .terminal import Terminal

HOSTILE = "two\nlines \x1b[31m[red]x[/red] \u202e around 长名字"
COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]")
"""What changes a colour to another than the terminal's own."""


async def shown(terminal: Terminal, *texts: str) -> list[str]:
    """Wait until these are on the screen, while the event loop goes on; its lines."""
    return await asyncio.to_thread(terminal.shows, *texts)


async def test_it_shows_what_waits_runs_and_fails_and_opens_a_job(
    app: Soniq, open_top: Open
) -> None:
    @app.job(name="mail.send", queue="mail", max_attempts=1)
    async def send(number: int) -> None:
        raise ValueError(f"customer {number}: {HOSTILE}")

    @app.job(name="report.build", queue="reports")
    async def build() -> None:
        await asyncio.sleep(600)

    await app.enqueue(send, 7)
    await app.enqueue(build)
    await app.enqueue(build, delay=3600)
    async with working(app):
        terminal = open_top("--interval", "0.5")
        lines = await shown(terminal, "soniq top", "reports", "dead in 1 h 1", "running 1")
        assert all(len(line) <= 80 for line in lines)
        assert "1 job has died within the last hour" in lines
        (mail,) = [line for line in lines if line.startswith("mail ")]
        assert re.fullmatch(r"mail +0 +– +0 +0 +0 +\S+ +\S+ +1", mail)

        await app.enqueue_many(build, [{}] * 3, queue="late")
        await shown(terminal, "late", "running 4")

        terminal.press("2")
        lines = await shown(terminal, "report.build", "FOR")
        terminal.press("3")
        lines = await shown(terminal, "mail.send", "ERROR")
        (failure,) = [line for line in lines if line.startswith("mail.send")]
        assert r"ValueError: customer 7: two lines" in failure
        terminal.press("\r")
        lines = await shown(terminal, "arguments", '"number": 7', "traceback")
        text = "\n".join(lines)
        assert r"\x1b[31m[red]x[/red] \u202e around 长名字" in text.replace("\n", "")
        terminal.press("4")
        lines = await shown(terminal, "SLOTS", f":{os.getpid()}")
    terminal.press("q")
    assert terminal.end() == 0
    assert b"\x1b[?1049l" in terminal.written


async def test_it_fits_the_terminal_whatever_its_size(app: Soniq, open_top: Open) -> None:
    await app.enqueue_many("job", [{}] * 3, queue="a rather long name of a queue")
    terminal = open_top("--interval", "0.5")
    await shown(terminal, "a rather long na… ", "q quit")
    terminal.resize(150, 40)
    await shown(terminal, "a rather long name of a queue ", "WORKERS")
    terminal.resize(40, 10)
    lines = await shown(terminal, "a rather long n… ", "WAITING")
    (head,) = [line for line in lines if line.startswith("QUEUE")]
    assert (len(lines), head.split()[-1]) == (10, "RUN")
    terminal.press("\x03")
    assert terminal.end() == 0


async def test_an_outage_is_a_line_and_ends_with_it(
    app: Soniq, open_top: Open, proxy: Proxy, database_url: str
) -> None:
    await app.enqueue("job", queue="mail")
    terminal = open_top("--interval", "0.5", url=proxy.url(database_url))
    await shown(terminal, "mail")
    proxy.refuse()
    proxy.cut()
    lines = await shown(terminal, "nothing new since ")
    assert any(line.startswith("mail") for line in lines)
    terminal.press("?")
    await shown(terminal, "Ctrl-C", "nothing new since ")
    terminal.press("\x1b")
    proxy.restore()
    lines = await shown(terminal, "Jobs wait, and no worker is alive")
    assert "Traceback" not in "\n".join(lines)
    terminal.press("q")
    assert terminal.end() == 0


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_leaves_a_clean_terminal(
    app: Soniq, open_top: Open, by: signal.Signals
) -> None:
    await app.start()
    terminal = open_top()
    await shown(terminal, "There is no queue yet")
    terminal.process.send_signal(by)
    assert terminal.end() == 0
    assert b"\x1b[?1049l" in terminal.written


@pytest.mark.parametrize(("settings", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
async def test_it_has_no_colour_where_none_is_wanted(
    app: Soniq, open_top: Open, settings: dict[str, str], coloured: bool
) -> None:
    await app.start()
    terminal = open_top(**settings)
    await shown(terminal, "nothing needs attention")
    assert bool(COLOUR.search(terminal.written)) is coloured
    terminal.press("q")
    assert terminal.end() == 0


async def test_a_terminal_that_cannot_be_drawn_on_gets_one_snapshot(
    app: Soniq, open_top: Open
) -> None:
    await app.enqueue("job", queue="mail")
    terminal = open_top(TERM="dumb", size=(120, 40))
    await shown(terminal, "Queues:", "  mail", "No worker is alive.")
    assert await asyncio.to_thread(terminal.end) == 0
    assert b"\x1b" not in terminal.written
