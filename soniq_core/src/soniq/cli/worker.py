"""`soniq worker`: run jobs."""

import asyncio
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NoReturn

import click

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, named_app
from soniq.cli.output import Failure, clean
from soniq.cli.supervise import CHILD, orphaned, supervise
from soniq.errors import SoniqError
from soniq.worker.interrupts import once_for, stop_on_signals

log = logging.getLogger("soniq.worker")

LEVELS = ("debug", "info", "warning", "error")
LINGER = 1.0
"""Seconds that threads and tasks have to end by themselves after the worker has stopped."""


Queues = Sequence[str] | Mapping[str, int]


def _queues(ctx: click.Context, param: click.Parameter, value: str | None) -> Queues | None:
    """The callback of a parameter of queues with commas between them, each alone or each with its concurrency."""
    if value is None:
        return None
    parts = [part.strip().rpartition(":") if ":" in part else (part.strip(), "", "") for part in value.split(",")]
    if not all(name for name, _, _ in parts):
        raise click.BadParameter(f"{value!r}: names of queues with commas between them")
    if not any(colon for _, colon, _ in parts):
        return [name for name, _, _ in parts]
    if not all(number.isascii() and number.isdigit() and int(number) for _, _, number in parts):
        raise click.BadParameter(f"{value!r}: give each queue a concurrency, as in media:2,default:20, or none")
    return {name: int(number) for name, _, number in parts}


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """The callback of a parameter that is a size with its unit: bytes."""
    match = re.fullmatch(r"(\d{1,9})([MG])", value or "")
    if value is not None and match is None:
        raise click.BadParameter(f"{value!r} is not a size with a unit, as in 512M or 2G")
    return match and int(match[1]) * {"M": 2**20, "G": 2**30}[match[2]]


@click.command(epilog=EXIT_CODES)
@click.argument("app", callback=named_app, required=False, envvar="SONIQ_APP", metavar="MODULE:ATTR")
@click.option(
    "--concurrency", type=click.IntRange(1, 10_000),
    help="How many attempts run at once, instead of SONIQ_CONCURRENCY.",
)  # fmt: skip
@click.option(
    "--queues", callback=_queues, metavar="A,B",
    help="Only jobs of these queues; or each with a concurrency of its own: media:2,default:20.",
)  # fmt: skip
@click.option(
    "--processes", type=click.IntRange(1, 1_000), default=1, show_default=True,
    help="How many processes work; one more supervises them, and replaces those that end.",
)  # fmt: skip
@click.option(
    "--max-jobs", type=click.IntRange(1),
    help="End after so many attempts. With --processes, a fresh process takes the place.",
)  # fmt: skip
@click.option(
    "--max-memory", callback=_size, metavar="512M",
    help="Stop when the process takes this much memory, likewise.",
)  # fmt: skip
@click.option("--once", is_flag=True, help="Run what is due, also what those jobs enqueue, then end.")
@click.option(
    "--log-level", type=click.Choice(LEVELS, case_sensitive=False),
    help="How much to log. Default: info, or what the app has set up.",
)  # fmt: skip
def worker(
    app: Soniq | None,
    concurrency: int | None,
    queues: Queues | None,
    processes: int,
    max_jobs: int | None,
    max_memory: int | None,
    once: bool,
    log_level: str | None,
) -> None:
    """Run the jobs of an app.

    It is named as module:attribute, as in examples.app:eq, or by SONIQ_APP in the environment. The current
    directory is searched for the module, too. SIGTERM and SIGINT stop the worker: jobs that have not started are
    handed back, those that run have SONIQ_GRACE seconds to end, and then run again elsewhere. A second signal ends
    that time at once.

    It logs to stderr, unless the app has set up logging by itself.
    """
    if app is None:
        raise click.UsageError("name the app as module:attribute, as in examples.app:eq, or set SONIQ_APP")
    if concurrency is not None and isinstance(queues, Mapping):
        raise click.UsageError("--queues gives each queue a concurrency; leave --concurrency out")
    if once and processes > 1:
        raise click.UsageError("--once runs in this process; leave --processes out")
    _set_up_logging(log_level)
    supervisor = os.environ.pop(CHILD, None)  # not for processes that handlers start
    if supervisor:
        once_for(signal.SIGTERM)
    elif processes > 1:
        sys.exit(supervise(processes, app.settings.grace))
    run = partial(
        app.run_worker, concurrency=concurrency, queues=queues, run_once=once, max_jobs=max_jobs, max_memory=max_memory
    )
    asyncio.run(_work(app, run, once, supervisor))


async def _work(app: Soniq, run: Callable[[], Awaitable[int]], once: bool, supervisor: str | None) -> None:
    """Run the worker and close the app; where a handler cannot be ended, leave the process with it."""
    failure: Exception | None = None
    heard: list[bool] = []

    def stop() -> None:
        """As a worker that runs on does: the first signal leaves running attempts the grace time, the second none."""
        app.stop_workers(now=bool(heard))
        heard.append(True)

    watching = asyncio.create_task(_stop_without(int(supervisor), app)) if supervisor else None
    try:
        await app.start()
        release = stop_on_signals(stop) if once else None
        try:
            await run()
        finally:
            if release is not None:
                release()
    except Exception as error:
        failure = error
    if watching is not None:
        watching.cancel()
    await app.close()
    if await _something_goes_on():
        _leave_at_once(failure)
    if failure is not None:
        raise failure


async def _stop_without(supervisor: int, app: Soniq) -> None:
    await orphaned(supervisor)
    while True:  # also one that has not begun yet
        app.stop_workers()
        await asyncio.sleep(0.5)


async def _something_goes_on() -> bool:
    """Whether a handler of a worker that has stopped still runs: a thread, or a task that refuses to end."""
    deadline = time.monotonic() + LINGER
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("soniq job")]
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        return True
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    return bool(tasks) and bool((await asyncio.wait(tasks, timeout=LINGER))[1])


def _leave_at_once(failure: Exception | None) -> NoReturn:
    """End the process, which would wait for its threads for ever."""
    if failure is not None:
        log.error("%s", failure, exc_info=None if isinstance(failure, SoniqError) else failure)
    log.warning("a handler cannot be ended, and ends with this process")
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(Failure.exit_code if failure is not None else 0)


def _set_up_logging(level: str | None) -> None:
    """Let what Soniq logs be seen on stderr, unless the app has set up logging."""
    logger = logging.getLogger("soniq")
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(Lines(tracebacks=level == "debug"))
        logger.addHandler(handler)
        level = level or "info"
    if level is not None:
        logger.setLevel(level.upper())


class Lines(logging.Formatter):
    """One line for each event: time, level, message, and where an exception came from."""

    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created).astimezone().isoformat(" ", "milliseconds")
        line = f"{when} {record.levelname.lower():7} {clean(' '.join(record.getMessage().split()))}"
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return line
        if self._tracebacks:
            return f"{line}\n{self.formatException(record.exc_info)}"  # type: ignore[arg-type]
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f", {Path(trace.tb_frame.f_code.co_filename).name} line {trace.tb_lineno}" if trace else ""
        return f"{line} ({clean(type(error).__name__)}{where})"
