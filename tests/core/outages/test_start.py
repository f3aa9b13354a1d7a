"""A worker that starts before its database is there."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.proxy import Proxy
from tests.support.urls import of_database

CODE = "from soniq import Soniq\neq = Soniq(discover=False)\n"


def started(folder: Path, url: str, schema: str, *options: str) -> "subprocess.Popen[str]":
    (folder / "app.py").write_text(CODE)
    environment = {"SONIQ_DATABASE_URL": url, "SONIQ_SCHEMA": schema, "PATH": ""}
    command = [sys.executable, "-m", "soniq", "worker", "app:eq", *options]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


async def said(process: "subprocess.Popen[str]", words: str) -> list[str]:
    """What it says until a line has these words, and its line."""
    assert process.stderr is not None
    lines: list[str] = []
    async with asyncio.timeout(30):
        while not lines or words not in lines[-1]:
            lines.append(await asyncio.to_thread(process.stderr.readline))
            assert lines[-1], f"it ended, and said: {lines}"
    return lines


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["one", "two"])
async def test_it_waits_for_it_and_says_so_once(
    options: tuple[str, ...], tmp_path: Path, proxy: Proxy, database_url: str, schema: str
) -> None:
    proxy.refuse()
    process = started(tmp_path, proxy.url(database_url), schema, *options)
    try:
        await said(process, "waiting for the database: cannot connect")
        await asyncio.sleep(2)
        proxy.restore()
        lines = await said(process, " started: soniq ")
        assert (
            sum("waiting for" in line for line in lines) <= len(options) // 2
        )  # the other process's, if any
    finally:
        process.terminate()
        _, rest = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == 0, rest


async def test_a_signal_ends_the_wait(
    tmp_path: Path, proxy: Proxy, database_url: str, schema: str
) -> None:
    proxy.refuse()
    process = started(tmp_path, proxy.url(database_url), schema)
    await said(process, "waiting for the database")
    process.terminate()
    _, rest = await asyncio.to_thread(process.communicate, timeout=30)
    assert "Traceback" not in rest


@pytest.mark.parametrize("options", [("--wait", "1s"), ("--once",)], ids=["limit", "once"])
async def test_it_ends_with_an_error_when_the_limit_is_past(
    options: Any, tmp_path: Path, schema: str
) -> None:
    with socket.socket() as taken:  # a port on which nothing listens
        taken.bind(("127.0.0.1", 0))
        process = started(
            tmp_path, f"postgresql://127.0.0.1:{taken.getsockname()[1]}/app", schema, *options
        )
        _, told = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == 1
    assert "error: cannot connect to PostgreSQL at 127.0.0.1" in told
    assert "Traceback" not in told


async def test_a_database_that_does_not_exist_is_not_waited_for(
    tmp_path: Path, proxy: Proxy, database_url: str, schema: str
) -> None:
    url = of_database(proxy.url(database_url), "not_there")
    process = started(tmp_path, url, schema)
    _, told = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == 1
    assert "not_there" in told
