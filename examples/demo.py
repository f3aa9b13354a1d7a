"""`make demo`: a job for each file of a folder, on an embedded PostgreSQL, with a table of what
they found.

Run it on files of your own with `make demo FOLDER=...`. SONIQ_DATABASE_URL chooses another
database.
"""

import argparse
import asyncio
import hashlib
import logging
import os
import secrets
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from soniq import Cancel, JobContext, Soniq, SoniqError

SKIPPED = {"__pycache__", "node_modules", "venv", "build", "dist"}
LARGEST = 1_000_000
MOST = 2_000

eq = Soniq(schema=f"soniq_demo_{secrets.token_hex(4)}")
failures: list[str] = []


@dataclass
class Report:
    """What a job found out about its file."""

    path: str
    lines: int
    words: int
    size: int
    longest_line: int
    sha256: str


@eq.job()
def examine(path: str) -> Report:
    """A plain function runs in a thread. Arguments are checked when it is enqueued, the result
    comes back typed.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise Cancel(f"{path} cannot be read: {error.strerror}") from error
    lines = data.splitlines()
    return Report(
        path=path,
        lines=len(lines),
        words=len(data.split()),
        size=len(data),
        longest_line=max(map(len, lines), default=0),
        sha256=hashlib.sha256(data).hexdigest(),
    )


@eq.job(unique=True)
def measure(folder: str) -> int:
    """Unique: while one of these is not finished, an enqueue with the same arguments adds
    nothing.
    """
    return sum(path.stat().st_size for path in find_files(Path(folder)))


@eq.job(retry=0.2, max_attempts=3)
async def call_home(ctx: JobContext) -> str:
    """Fails twice. Where a job says nothing, retries come after about 1, 2, 4 ... seconds."""
    if ctx.attempt < 3:
        raise ConnectionError("nobody answers")
    return "somebody answered"


@eq.on_error
def note(ctx: JobContext, error: BaseException) -> None:
    """A hook: it sees each failed attempt of every job."""
    failures.append(
        f"attempt {ctx.attempt} of {ctx.max_attempts} failed: {type(error).__name__}: {error}"
    )


def find_files(folder: Path) -> list[Path]:
    """The files below a folder, but for hidden, generated and large ones; 2,000 at most."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(
            f for f in folders if not f.startswith(".") and f not in SKIPPED and ".egg" not in f
        )
        for path in (Path(place, name) for name in sorted(names)):
            regular = path.is_file() and not path.is_symlink() and str(path).isprintable()
            if regular and path.stat().st_size <= LARGEST and len(found) < MOST:
                found.append(path)
    return found


async def finished() -> int:
    """How many jobs have come to their end, as the database knows it."""
    queues = (await eq.overview())["queues"]
    return sum(
        counts.get(status, 0)
        for counts in queues.values()
        for status in ("done", "dead", "cancelled")
    )


class Bar:
    """A progress bar; where the output is not a terminal, a line for each quarter."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._shown = -1

    def show(self, done: int) -> None:
        percent = 100 * done // self._total
        if sys.stdout.isatty():
            print(
                f"\r[{'#' * (percent // 2):.<50}] {done:,} of {self._total:,}", end="", flush=True
            )
            if done == self._total:
                print()
        elif percent // 25 > self._shown:
            self._shown = percent // 25
            print(f"{done:,} of {self._total:,} jobs", flush=True)


@asynccontextmanager
async def throw_away_tables() -> AsyncIterator[None]:
    """The app, in a schema of this run alone, which is dropped at the end with those of plugins."""
    async with eq:
        try:
            yield
        finally:
            async with eq.connection() as connection:
                for row in await connection.fetch(
                    "select quote_ident(nspname) from pg_namespace where starts_with(nspname, $1)",
                    eq.settings.schema,
                ):
                    await connection.execute(f"drop schema {row[0]} cascade")


async def demo(folder: Path) -> None:
    """Enqueue a job for each file and three more, run a worker until all are finished, show what
    they found.
    """
    files = find_files(folder)
    if not files:
        sys.exit(f"no files to examine in {folder}")
    async with throw_away_tables():
        print(f"{len(files):,} files in {folder}, a job for each")
        started = time.monotonic()
        jobs = await eq.enqueue_many(examine, [{"path": str(path)} for path in files])
        calling = await eq.enqueue(call_home)
        first = await eq.enqueue(measure, folder=str(folder))
        again = await eq.enqueue(measure, folder=str(folder))

        worker = asyncio.create_task(eq.run_worker(concurrency=8))
        total = len(jobs) + 2
        bar = Bar(total)
        while not worker.done() and (done := await finished()) < total:
            bar.show(done)
            await asyncio.sleep(0.05)
        if worker.done():
            await worker
            sys.exit("stopped")
        bar.show(total)
        took = time.monotonic() - started
        eq.stop_workers()
        await worker

        reports: list[Report] = [report for job in jobs if (report := await eq.get_result(job))]
        show_reports(reports, folder)
        print(
            f"\n{total:,} jobs in {took:.1f} s; {len(jobs) - len(reports)} files could not be read"
        )
        print("\nA job that fails twice, and is tried again:")
        print(
            *(f"  {failure}" for failure in failures),
            f"  attempt 3: {await eq.get_result(calling)}",
            sep="\n",
        )
        print("\nA unique job that was enqueued twice:")
        print(f"  {first} was {'added' if first.inserted else 'refused'}")
        print(
            f"  the second one was {'added' if again.inserted else 'refused: it is the same job'}"
        )
        print(f"  its result: {await eq.get_result(first):,} bytes in all")


def show_reports(reports: Sequence[Report], folder: Path) -> None:
    """The longest files, totals, the longest line, and files with the same content."""
    print(f"\n{'lines':>9} {'words':>9} {'bytes':>11}  file")
    for report in sorted(reports, key=lambda r: (-r.lines, r.path))[:10]:
        print(f"{report.lines:>9,} {report.words:>9,} {report.size:>11,}  {name(report, folder)}")
    lines, words, size = (
        sum(getattr(r, what) for r in reports) for what in ("lines", "words", "size")
    )
    print(f"{lines:>9,} {words:>9,} {size:>11,}  all {len(reports):,} files")
    if reports:
        longest = max(reports, key=lambda r: r.longest_line)
        print(f"\nThe longest line: {longest.longest_line:,} bytes, in {name(longest, folder)}")
    copies: dict[str, list[Report]] = defaultdict(list)
    for report in reports:
        if report.size:
            copies[report.sha256].append(report)
    for same in [group for group in copies.values() if len(group) > 1][:5]:
        print(f"The same content: {', '.join(name(report, folder) for report in same[:4])}")


def name(report: Report, folder: Path) -> str:
    return str(Path(report.path).relative_to(folder))


def main() -> None:
    parser = argparse.ArgumentParser(prog="demo", description="Run Soniq on real files.")
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=Path(),
        help="whose files to examine (default: here)",
    )
    folder = parser.parse_args().folder.resolve()
    if not folder.is_dir():
        parser.error(f"{folder} is no folder")
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n\n"
    logging.getLogger("soniq.worker").setLevel(logging.ERROR)  # the demo shows the failures itself
    try:
        asyncio.run(demo(folder))
    except SoniqError as error:
        sys.exit(f"the demo cannot run: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
