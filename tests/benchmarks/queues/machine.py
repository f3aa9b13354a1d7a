"""The machine, the versions and the settings that figures belong to."""

import asyncio
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

SETTINGS = (
    "shared_buffers", "max_wal_size", "synchronous_commit", "fsync", "full_page_writes", "wal_level",
    "max_connections", "jit",
)  # fmt: skip


def about(url: str, redis: str | None, rounds: int, jobs: int) -> dict[str, str]:
    """What a reader must know to compare: with the load of the machine before the run began, which
    tells whether others worked on it.
    """
    found = {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "run": f"{rounds} rounds, {jobs:,} jobs",
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory()}, {platform.system()}"
        f" {platform.release()}",
        "load before": " ".join(f"{each:.2f}" for each in os.getloadavg()),
        "soniq": _commit(),
        "python": sys.version.split()[0],
        **asyncio.run(_postgresql(url)),
    }
    return found | ({"redis": redis} if redis else {})


async def _postgresql(url: str) -> dict[str, str]:
    connection = await asyncpg.connect(url)
    version = await connection.fetchval("show server_version")
    settings = [f"{each}={await connection.fetchval(f'show {each}')}" for each in SETTINGS]
    await connection.close()
    return {"postgresql": f"{version}: {', '.join(settings)}"}


def _commit() -> str:
    """Which state of the source was measured."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return f"commit {found.stdout.strip()}" if found.returncode == 0 else "no commit"


def _processor() -> str:
    return _after("/proc/cpuinfo", "model name") or platform.machine()


def _memory() -> str:
    kilobytes = int((_after("/proc/meminfo", "MemTotal") or "0 kB").split()[0])
    return f"{kilobytes / 2**20:.0f} GiB"


def _after(file: str, name: str) -> str | None:
    """The first value of a name in a file of lines such as `name: value`."""
    path = Path(file)
    if not path.exists():
        return None
    lines = (line.partition(":") for line in path.read_text().splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), None)
