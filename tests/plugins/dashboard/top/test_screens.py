"""The screens and their keys, on a real database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import asyncpg
import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from soniq import Count, Soniq, hookimpl
from soniq_dashboard import Dashboard
from soniq_dashboard.top.screens import Top
from soniq_dashboard.top.table import Table
from tests.conftest import MakeApp
from tests.support.jobs import run_job, working
from tests.support.waiting import eventually

Connection = asyncpg.Connection


@asynccontextmanager
async def shown(app: Soniq, interval: float = 60.0) -> AsyncIterator[Pilot[None]]:
    """`soniq top` with one look done."""
    await app.start()
    top = Top(app, interval)
    async with top.run_test(size=(80, 24)) as pilot:
        await looked(pilot)
        yield pilot


async def looked(pilot: Pilot[None]) -> None:
    """Wait until a look that goes on is done."""
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


def lines(pilot: Pilot[Any]) -> list[str]:
    """What is on the screen."""
    strips = pilot.app.screen._compositor.render_strips()
    return [strip.text.rstrip() for strip in strips]


def first_column(pilot: Pilot[Any]) -> list[str]:
    """The first words of the table's rows."""
    return [line.split()[0] for line in lines(pilot)[5:-1] if line]


async def press(pilot: Pilot[None], *keys: str) -> list[str]:
    await pilot.press(*keys)
    await looked(pilot)
    return lines(pilot)


async def test_each_view_has_a_key_and_tab_goes_round(app: Soniq) -> None:
    async with shown(app) as pilot:
        assert "There is no queue yet." in lines(pilot)
        for key, text in (
            ("2", "that it runs a job"),
            ("3", "No job has died"),
            ("4", "No worker"),
        ):
            assert any(text in line for line in await press(pilot, key))
        assert any("No worker has counted" in line for line in await press(pilot, "tab"))
        assert "There is no queue yet." in await press(pilot, "tab")
        assert any("No worker has counted" in line for line in await press(pilot, "shift+tab"))


async def test_rows_are_sorted_by_any_column_either_way_and_the_chosen_one_stays(
    app: Soniq,
) -> None:
    for queue, count in (("a", 1), ("b", 3), ("c", 2)):
        await app.enqueue_many("job", [{}] * count, queue=queue)
    async with shown(app) as pilot:
        assert first_column(pilot) == ["b", "c", "a"]
        await press(pilot, "down", "S")
        assert first_column(pilot) == ["a", "c", "b"]
        assert "WAITING▲" in lines(pilot)[4]
        table = pilot.app.query_one(Table)
        assert table._rows[table._chosen].key == "c"
        await press(pilot, *["s"] * 8)
        assert "QUEUE▲" in lines(pilot)[4]
        assert first_column(pilot) == ["a", "b", "c"]
        assert table._rows[table._chosen].key == "c"


async def test_the_jobs_of_a_queue_are_behind_it_and_a_job_behind_each(app: Soniq) -> None:
    await app.enqueue("job", args={"n": 1}, queue="other")
    job_id = await app.enqueue("job", args={"n": 2}, queue="mail", priority=7)
    await app.enqueue_many("job", [{"n": 3}] * 2, queue="mail")
    async with shown(app) as pilot:
        await press(pilot, "enter")
        assert lines(pilot)[-1] == "queue mail  Esc back  ? help  q quit"
        assert first_column(pilot) == ["job"] * 3
        await press(pilot, "end", "enter")
        assert f"job {job_id}" in lines(pilot)[0]
        assert any(line.endswith("mail, priority 7") for line in lines(pilot))
        await press(pilot, "escape")
        assert first_column(pilot) == ["job"] * 3
        await press(pilot, "escape")
        assert first_column(pilot) == ["mail", "other"]


async def test_a_job_that_is_gone_is_said_to_be(app: Soniq) -> None:
    job_id = await app.enqueue("job", queue="mail")
    async with shown(app) as pilot:
        await press(pilot, "enter")
        await app.delete(job_id)
        assert "This job is not there any more." in await press(pilot, "enter")


@asynccontextmanager
async def shown_with_a_worker(app: Soniq, **options: Any) -> AsyncIterator[Pilot[None]]:
    """`soniq top` once a worker is there."""

    async def alive() -> bool:
        return bool((await app.overview())["workers"])

    async with working(app, **options):
        await eventually(alive)
        async with shown(app) as pilot:
            yield pilot


async def test_an_idle_worker_is_said_to_run_no_job(app: Soniq) -> None:
    async with shown_with_a_worker(app) as pilot:
        await press(pilot, "4")
        assert "This worker runs no job." in await press(pilot, "enter")


async def test_at_eighty_columns_nothing_above_the_table_is_cut(app: Soniq) -> None:
    queue = "the-queue-of-a-name-that-is-long-" * 3
    many = Count(value=43_210, exact=False)
    await app.enqueue("job", queue=queue)
    async with shown(app) as pilot:
        top = cast("Top", pilot.app)
        assert top._look is not None
        queues = [
            replace(each, waiting=many, scheduled=many, running=many, held=many)
            for each in top._look.queues
        ]
        top._look = replace(top._look, queues=queues)
        top._show(new=True)
        await pilot.pause()
        above = " ".join(lines(pilot)).partition("QUEUE")[0]
        assert "workers 0" in above
        top._trouble = datetime.now(UTC), f"DatabaseUnavailable: {'so it is ' * 20}the cause"
        top._show()
        await pilot.pause()
        assert "the cause" in " ".join(lines(pilot)).partition("QUEUE")[0]
        await pilot.press("question_mark")
        top._show()
        await pilot.pause()
        assert "the cause" in " ".join(lines(pilot)).partition("1 2 3")[0]


async def test_an_alarm_is_shown_to_its_end(app: Soniq) -> None:
    await app.enqueue("job", queue="a-queue-of-a-long-name-" * 4)
    async with shown_with_a_worker(app, queues=["other"]) as pilot:
        above = " ".join(lines(pilot)).partition("QUEUE")[0]
        assert "No live worker serves the queue" in above
        assert "1 job waits" in above


async def test_a_pause_holds_what_is_shown_and_r_looks_all_the_same(app: Soniq) -> None:
    async with shown(app, interval=0.1) as pilot:
        assert "PAUSED" in (await press(pilot, "p"))[0]
        await app.enqueue("job", queue="mail")
        await pilot.pause(0.5)
        assert "There is no queue yet." in lines(pilot)
        await press(pilot, "r")
        assert first_column(pilot) == ["mail"]
        assert "PAUSED" not in (await press(pilot, "space"))[0]


async def test_the_help_names_each_key(app: Soniq) -> None:
    async with shown(app) as pilot:
        text = "\n".join(await press(pilot, "question_mark"))
        for key in ("Tab", "Enter", "Esc", "s  S", "Space", "q, Ctrl-C"):
            assert key in text
        assert "There is no queue yet." in await press(pilot, "escape")


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
@pytest.mark.parametrize("before", [[], ["question_mark"]])
async def test_it_can_be_left_from_everywhere(app: Soniq, key: str, before: list[str]) -> None:
    async with shown(app) as pilot:
        await pilot.press(*before, key)
        await pilot.pause()
        assert not pilot.app.is_running


class Secretive:
    name = "secretive"

    @hookimpl
    def present(self, what: str) -> str | None:
        return "(see the log)" if what in ("error", "traceback") else None


async def test_what_is_secret_is_masked_in_lists_and_in_a_job(make_app: MakeApp) -> None:
    app = make_app(plugins=[Dashboard, Secretive])

    @app.job(name="pay", hide=["pin"], max_attempts=1)
    async def pay(pin: int, password: str) -> None:
        raise ValueError(f"wrong pin: {pin}")

    await run_job(app, "pay", pin=4111, password="hunter2")
    async with shown(app) as pilot:
        text = "\n".join(await press(pilot, "3"))
        assert "ValueError: (see the log)" in text
        shown_job = "\n".join(await press(pilot, "enter"))
        assert '"pin": "***"' in shown_job
        assert "4111" not in text + shown_job
        assert "hunter2" not in shown_job


async def test_markup_and_control_characters_are_text(app: Soniq) -> None:
    name = "[bold red]x[/] \\[link=https://a.test]长"
    await app.enqueue(name, args={"[b]": "[/b]\x1b[2J\u202e"}, queue="[reverse]q[/reverse]")
    async with shown(app) as pilot:
        assert any(line.startswith("[reverse]q[/re") for line in lines(pilot))
        assert any(line.startswith("[bold red]x[/] \\[l") for line in await press(pilot, "enter"))
        text = "\n".join(await press(pilot, "enter"))
        assert name in text
        assert "[/b]" in text
        assert "\x1b" not in text
        assert "\u202e" not in text


async def test_more_rows_than_lines_are_scrolled(app: Soniq) -> None:
    for number in range(40):
        await app.enqueue("job", queue=f"queue-{number:02}")
    async with shown(app) as pilot:
        await press(pilot, "S", "s", *["s"] * 7, "home")
        assert first_column(pilot)[0] == "queue-00"
        assert len(first_column(pilot)) == 18
        await press(pilot, "end")
        assert first_column(pilot)[-1] == "queue-39"
        await press(pilot, "pageup")
        await pilot.resize_terminal(80, 12)
        await looked(pilot)
        assert len(first_column(pilot)) == 6
        assert "queue-21" in first_column(pilot)


async def test_names_are_shown_as_the_workers_counted_them(app: Soniq, make_app: MakeApp) -> None:
    @app.job(name="mail.send")
    async def send() -> None: ...

    await app.enqueue_many(send, [{}] * 5)
    await app.run_worker(run_once=True)
    async with shown(app) as pilot:
        (line,) = [each for each in await press(pilot, "5") if each.startswith("mail.send")]
        assert line.split()[1:3] == ["5", "0"]
        await press(pilot, "enter")
        assert first_column(pilot) == ["mail.send"] * 5
        header = pilot.app.screen_stack[0].query_one("#header", Static)
        assert "done/min" in str(header.content)
