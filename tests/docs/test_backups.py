"""The page about backups, done with pg_dump and pg_restore: what a restored database runs again,
and what not.
"""

import asyncio
import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from soniq import Soniq
from soniq_embedded.binaries import install_folder
from tests.support.urls import of_database

from .pages import DOCS, section

PAGE = DOCS / "how-to" / "backups.md"
EMBEDDED = str(install_folder() / "bin")
SONIQ = str(Path(sys.executable).parent)


class Shop:
    """An app whose jobs have effects elsewhere, which are counted here, and in its own database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.app = Soniq(url, discover=False, lease=1, poll_interval=0.1)
        self.mails: list[int] = []
        self.began, self.may_end = asyncio.Event(), asyncio.Event()

        @self.app.job(name="app.send_mail")
        async def send_mail(order_id: int) -> None:
            self.mails.append(order_id)

        @self.app.job(name="app.ship")
        async def ship(order_id: int, connection: asyncpg.Connection) -> None:
            await connection.execute("insert into shipped values ($1)", order_id)

        @self.app.job(name="app.long")
        async def long() -> None:
            self.began.set()
            await self.may_end.wait()

    async def shipped(self) -> list[int]:
        async with self.app.connection() as connection:
            return [row[0] for row in await connection.fetch("select id from shipped order by id")]


@pytest.fixture
async def databases(
    database_url: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> AsyncIterator[list[str]]:
    """The URLs of two databases: one, and one that is not there yet."""
    names = [f"backup_{uuid.uuid4().hex[:12]}" for _ in range(2)]
    await connection.execute(f"create database {names[0]}")
    yield [of_database(database_url, name) for name in names]
    for name in names:
        await connection.execute(f"drop database if exists {name} with (force)")


def run(line: str, folder: Path, **variables: str) -> str:
    """Run a line of the page; what it printed."""
    # PostgreSQL's own tools, as old as the server: a newer pg_restore asks for what it lacks.
    given = "SONIQ_TEST_DATABASE_URL" in os.environ
    order = [os.environ["PATH"], EMBEDDED] if given else [EMBEDDED, os.environ["PATH"]]
    path = os.pathsep.join([SONIQ, *order])

    done = subprocess.run(
        shlex.split(line), cwd=folder, env={**os.environ, "SONIQ_PLUGINS": "", **variables, "PATH": path},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def indented(heading: str) -> list[str]:
    return [line.strip() for line in section(PAGE, heading).splitlines() if line.startswith("    ")]


async def dumped(shop: Shop, folder: Path) -> str:
    """A backup of a shop with two jobs that wait and one that runs, which are done afterwards; the
    id of the latter.
    """
    async with shop.app.connection() as connection:
        await connection.execute("create table shipped (id int)")
    running = await shop.app.enqueue("app.long")
    worker = asyncio.create_task(shop.app.run_worker())
    await shop.began.wait()
    await shop.app.pause("default")
    await shop.app.enqueue("app.send_mail", order_id=7)
    await shop.app.enqueue("app.ship", order_id=7)
    await asyncio.to_thread(run, backup(shop.url), folder)
    shop.may_end.set()
    await shop.app.resume("default")
    while await shop.shipped() != [7] or shop.mails != [7]:
        await asyncio.sleep(0.05)
    shop.app.stop_workers()
    await worker
    assert await status(shop.app, running) == "done"
    return running


def backup(url: str) -> str:
    (line,) = [
        line
        for line in PAGE.read_text().splitlines()
        if line.startswith("    pg_dump") and "app.dump" in line
    ]
    return line.replace("postgresql://owner@db/app", shlex.quote(url))


async def restored(folder: Path, old: str, new: str) -> Shop:
    """A shop on the restored database, by the page's own lines."""
    create, restore = [
        line for line in indented("## Restore") if line.startswith(("createdb", "pg_restore"))
    ]
    name = urlsplit(new).path[1:]
    run(
        create.replace("postgresql://owner@db/postgres", shlex.quote(old))[: -len("app")] + name,
        folder,
    )
    run(restore.replace("postgresql://owner@db/app", shlex.quote(new)), folder)
    return Shop(new)


async def test_what_was_queued_or_running_then_runs_again_and_in_the_database_once(
    databases: list[str], tmp_path: Path
) -> None:
    shop = Shop(databases[0])
    async with shop.app:
        await dumped(shop, tmp_path)

    again = await restored(tmp_path, *databases)
    again.may_end.set()
    async with again.app:
        assert await again.shipped() == []
        await again.app.resume("default")
        await until_nothing_is_left(again.app)
        assert again.mails == [7], "a second time"
        assert await again.shipped() == [7], "as before, and once"
        assert again.began.is_set()


async def test_what_is_cancelled_before_the_workers_start_does_not(
    databases: list[str], tmp_path: Path
) -> None:
    shop = Shop(databases[0])
    async with shop.app:
        running = await dumped(shop, tmp_path)

    again = await restored(tmp_path, *databases)
    settings = {"SONIQ_DATABASE_URL": databases[1]}
    lines = [line for line in indented_sh() if line.startswith("soniq ")]
    assert [line.split()[1] for line in lines] == ["status", "jobs", "jobs", "cancel", "cancel"]
    for line in lines:
        word = line.split()[-1]
        await asyncio.to_thread(
            run, line.replace(word, running) if word.count("-") == 4 else line, tmp_path, **settings
        )

    async with again.app:
        await again.app.resume("default")
        await until_nothing_is_left(again.app)
        assert again.mails == []
        assert not again.began.is_set()
        assert await again.shipped() == [7]
        assert await status(again.app, running) == "cancelled"


async def test_a_copy_without_jobs_runs_none(databases: list[str], tmp_path: Path) -> None:
    shop = Shop(databases[0])
    async with shop.app:
        await dumped(shop, tmp_path)

    new = databases[1]
    run(f"createdb --maintenance-db={shlex.quote(databases[0])} {urlsplit(new).path[1:]}", tmp_path)
    for line in indented("## A copy for another environment"):
        line = line.replace("postgresql://owner@db/app", shlex.quote(databases[0]))
        run(line.replace("postgresql://owner@test/app", shlex.quote(new)), tmp_path)
    copy = Shop(new)
    async with copy.app:
        assert await copy.app.run_worker(run_once=True) == 0
        assert await copy.shipped() == [7]
        await copy.app.enqueue("app.send_mail", order_id=8)
        assert await copy.app.run_worker(run_once=True) == 1


def indented_sh() -> list[str]:
    """The commands in the fenced blocks of the restore, which stand in a list."""
    return [
        line.strip()
        for line in section(PAGE, "## Restore").splitlines()
        if line.startswith("   soniq ")
    ]


async def status(app: Soniq, job_id: str) -> str:
    found = await app.get_job_status(job_id)
    assert found is not None
    return found["status"]


async def until_nothing_is_left(app: Soniq) -> None:
    """Run a worker until no job waits or runs."""
    worker = asyncio.create_task(app.run_worker())
    try:
        async with asyncio.timeout(60):
            # In one look: a rescue takes jobs from one status to the other
            while any(
                queue["waiting"] or queue["scheduled"] or queue["running"]
                for queue in (await app.backlog()).values()
            ):
                await asyncio.sleep(0.05)
    finally:
        app.stop_workers()
        await worker
