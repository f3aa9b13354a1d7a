"""`soniq worker`: run jobs."""

import asyncio
import logging
import math
import os
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import click

from soniq.app import Soniq
from soniq.cli.health import Health
from soniq.cli.leaving import Leaving
from soniq.cli.logs import LEVELS, set_up_logging
from soniq.cli.options import EXIT_CODES, duration, named_app
from soniq.cli.reload import run_reloading
from soniq.cli.supervise import NUMBER_VARIABLE, SUPERVISOR_VARIABLE, orphaned, supervise
from soniq.errors import DatabaseUnavailable
from soniq.worker.interrupts import listen, once_for, stop_if_heard, stop_on_signals

log = logging.getLogger("soniq.worker")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds between two looks whether the database is there."""

PERMANENT_ERRORS = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)
"""What does not come right by waiting: the role, its password, the name of the database."""

Queues = Sequence[str] | Mapping[str, int]


def _queues(ctx: click.Context, param: click.Parameter, value: str | None) -> Queues | None:
    """The callback of a parameter of queues with commas between them.

    Each has a concurrency, or none has one.
    """
    if value is None:
        return None
    parts = [
        part.strip().rpartition(":") if ":" in part else (part.strip(), "", "")
        for part in value.split(",")
    ]
    if not all(name for name, _, _ in parts):
        raise click.BadParameter(f"{value!r}: give queue names, separated by commas")

    if not any(colon for _, colon, _ in parts):
        return [name for name, _, _ in parts]
    if not all(re.fullmatch("0*[1-9][0-9]{0,4}", number) for _, _, number in parts):
        raise click.BadParameter(
            f"{value!r:.200}: give each queue a concurrency, as in media:2,default:20, or none"
        )
    queues = {name: int(number) for name, _, number in parts}
    if len(queues) < len(parts):
        raise click.BadParameter(f"{value!r:.200}: a queue is named twice")
    return queues


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """The callback of a parameter that is a size with its unit: bytes."""
    match = re.fullmatch(r"(\d{1,9})([MG])", value or "")
    if value is not None and match is None:
        raise click.BadParameter(f"{value!r} is not a size with a unit, as in 512M or 2G")
    return match and int(match[1]) * {"M": 2**20, "G": 2**30}[match[2]]


def _app(ctx: click.Context, param: click.Parameter, value: str | None) -> Soniq | None:
    """The app. A signal ends its import, also in the first process of a container."""
    option = ctx.params.pop("named", None)
    if option is not None:
        if ctx.get_parameter_source("app") is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError("--app names the app, and so does the argument; leave one out")
        value = option
    _end_with_the_terminal()
    if value is not None and ctx.params.get("reload") and SUPERVISOR_VARIABLE not in os.environ:
        return Soniq(discover=False)  # which nobody uses: the worker's own process imports the app

    listen()  # for as long as there is this process
    app = named_app(ctx, param, value)
    stop_if_heard()
    return app


def _end_with_the_terminal() -> None:
    """Take SIGHUP, which comes when a terminal is closed, for SIGTERM; not where it is ignored, as
    by nohup.
    """
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda number, frame: signal.raise_signal(signal.SIGTERM))


@click.command(epilog=EXIT_CODES)
@click.argument("app", callback=_app, required=False, envvar="SONIQ_APP", metavar="MODULE:ATTR")
@click.option(
    "--app",
    "named",
    is_eager=True,
    metavar="MODULE:ATTR",
    help="The app, as with other commands, instead of the argument.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    help="How many attempts run at once, instead of SONIQ_CONCURRENCY.",
)
@click.option(
    "--queues",
    callback=_queues,
    metavar="A,B",
    help="Only jobs of these queues; or each with a concurrency of its own: media:2,default:20.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 1_000),
    default=1,
    show_default=True,
    help="How many worker processes; one more supervises them, and replaces those that end.",
)
@click.option(
    "--max-jobs",
    type=click.IntRange(1),
    help="End after this many attempts. With --processes, a new process takes its place.",
)
@click.option(
    "--max-memory",
    callback=_size,
    metavar="512M",
    help="End when the process uses this much memory, in the same way.",
)
@click.option(
    "--wait",
    callback=duration,
    metavar="DURATION",
    help="How long to wait for the database at the start: 30s, 5m, 0s. Default: for ever; "
    "with --once, not at all.",
)
@click.option(
    "--once", is_flag=True, help="Run what is due, also what those jobs enqueue, then end."
)
@click.option(
    "--reload",
    is_flag=True,
    is_eager=True,
    help="For development: start again when a Python file below this folder changes.",
)
@click.option(
    "--health-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Touch this file each second while the worker's loop is not stuck; "
    "with --processes FILE.1, FILE.2 and so on.",
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    help="How much to log. Default: info, or what the app has set up.",
)
def worker(
    app: Soniq | None,
    concurrency: int | None,
    queues: Queues | None,
    processes: int,
    max_jobs: int | None,
    max_memory: int | None,
    wait: float | None,
    once: bool,
    reload: bool,
    health_file: Path | None,
    log_level: str | None,
) -> None:
    """Run the jobs of an app.

    The app is named as module:attribute, as in examples.app:eq, or by SONIQ_APP in the environment.
    The current directory is searched for the module, too.

    SIGTERM and SIGINT stop the worker: jobs that have not started are requeued; those that run have
    SONIQ_GRACE seconds to end, and are then requeued. A second signal ends the grace time at once,
    a third one the process. Some seconds after the grace time the process ends in any case.

    The worker and its jobs log to stderr, unless the app has set up logging by itself.
    """
    if app is None:
        raise click.UsageError(
            "name the app as module:attribute, as in examples.app:eq, or set SONIQ_APP"
        )
    if concurrency is not None and isinstance(queues, Mapping):
        raise click.UsageError("--queues gives each queue a concurrency; leave --concurrency out")
    _check_processes(once, reload, processes)
    set_up_logging(log_level)

    supervisor = os.environ.pop(SUPERVISOR_VARIABLE, None)  # not for processes that handlers start
    number = os.environ.pop(NUMBER_VARIABLE, None)
    if number and health_file is not None:
        health_file = health_file.with_name(f"{health_file.name}.{number}")

    if reload and not supervisor:
        sys.exit(run_reloading())
    if supervisor:
        once_for(signal.SIGTERM)
    elif processes > 1:
        sys.exit(supervise(processes, app.settings.grace))

    run = partial(
        app.run_worker,
        concurrency=concurrency,
        queues=queues,
        run_once=once,
        max_jobs=max_jobs,
        max_memory=max_memory,
        signals=False,
    )
    if wait is None:
        wait = 0.0 if once else math.inf
    leaving = Leaving(app.settings.grace, app._hand_back)
    started = partial(_start_and_run, app, run, wait)
    _in_a_loop(_work(app, started, leaving, supervisor, Health(app, health_file)))


def _check_processes(once: bool, reload: bool, processes: int) -> None:
    """Refuse options that do not go together."""
    if once and processes > 1:
        raise click.UsageError("--once runs in this process; leave --processes out")
    if reload and (once or processes > 1):
        raise click.UsageError(
            "--reload runs one worker that goes on; leave --once and --processes out"
        )


def _in_a_loop(work: Coroutine[Any, Any, None]) -> None:
    """As `asyncio.run`, but goes on where a task that a handler made leaves the program.

    That is the job's failure, not the worker's.
    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(work)

        while not task.done():
            try:
                loop.run_until_complete(task)
            except (SystemExit, KeyboardInterrupt) as error:
                stop_if_heard()
                if task.done():
                    raise

                log.error(
                    "a task that a handler created raised %s, which does not end the worker",
                    type(error).__name__,
                )
        task.result()


async def _work(
    app: Soniq,
    run: Callable[[], Coroutine[Any, Any, None]],
    leaving: Leaving,
    supervisor: str | None,
    health: Health,
) -> None:
    """Run the worker and close the app.

    A signal that comes before the worker has begun ends the wait for it.
    """
    working = asyncio.create_task(run())
    heard: list[bool] = []

    def stop() -> None:
        """The first signal leaves running attempts the grace time, the second none."""
        if app.working:
            app.stop_workers(now=bool(heard))
        else:
            working.cancel()
        heard.append(True)

    stop_on_signals(stop, leaving.heard)  # for as long as there is this process
    beside = []
    if supervisor:
        beside.append(asyncio.create_task(_stop_without(int(supervisor), app, leaving)))
    if health.wanted:
        beside.append(asyncio.create_task(health.run()))

    failure: Exception | None = None
    try:
        await working
    except asyncio.CancelledError:
        if not heard:
            raise
    except Exception as error:
        failure = error

    leaving.stopped(failure)
    for task in beside:
        task.cancel()
    await app.close()
    if failure is not None:
        raise failure


async def _start_and_run(app: Soniq, run: Callable[[], Awaitable[int]], patience: float) -> None:
    await _start(app, patience)
    await run()


async def _start(app: Soniq, patience: float) -> None:
    """Start the app as soon as its database is there, or raise why not after `patience` seconds."""
    began, pause = time.monotonic(), FIRST_PAUSE

    while True:
        try:
            await app.start()
        except DatabaseUnavailable as error:
            if (
                isinstance(error.__cause__, PERMANENT_ERRORS)
                or time.monotonic() + pause - began > patience
            ):
                raise
            level = logging.WARNING if pause == FIRST_PAUSE else logging.DEBUG
            log.log(level, "waiting for the database: %s", error)
        else:
            if pause > FIRST_PAUSE:
                log.warning("the database is available after %.1f s", time.monotonic() - began)
            return
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


async def _stop_without(supervisor: int, app: Soniq, leaving: Leaving) -> None:
    await orphaned(supervisor)
    leaving.heard()
    while True:  # also one that has not begun yet
        app.stop_workers()
        await asyncio.sleep(0.5)
