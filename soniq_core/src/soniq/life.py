"""The life of an app: started by the first use, in one event loop, with workers in it, and closed.

It belongs to one event loop at a time. One that was closed is left behind, and so is what a process
inherited when it was forked.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from soniq.errors import AppNotStarted, WorkerRunning, WrongEventLoop
from soniq.runtime import Runtime
from soniq.startup import announce

if TYPE_CHECKING:
    from soniq.worker.worker import Worker


_announcing: ContextVar[Runtime | None] = ContextVar("announcing", default=None)
"""In what plugins do as an app starts, that app's parts: they may be used there already."""


class Life:
    """Starts and closes an app, and runs its workers."""

    def __init__(self) -> None:
        self._runtime: Runtime | None = None
        self._announced: Runtime | None = None
        """The parts that are in use, once all plugins have been told so."""
        self._starting: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._starter: asyncio.Task[Any] | None = None
        self._closer: asyncio.Task[Any] | None = None
        self._changed = False
        self._loops_end = False  # whether loops in which it was in use ended with others' calls
        self.closed = False
        """Whether it was closed, and not used since."""
        self._workers: set[Worker] = set()
        self._stops = 0  # how often workers were told to stop: it may be before they have begun
        self._process: int | None = None
        self._inherited: list[object] = []

    async def _start(self, setup: bool | None) -> Runtime:
        """Start the parts of the app."""
        raise NotImplementedError

    def _rebuild(self, runtime: Runtime) -> None:
        """Have the parts know the jobs and the hooks as they are now."""
        raise NotImplementedError

    def _is_of_sync(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether the event loop is that of the thread of `app.sync`."""
        raise NotImplementedError

    def _loop_of_sync(self) -> asyncio.AbstractEventLoop:
        """The event loop of the thread of `app.sync`, which is started for it."""
        raise NotImplementedError

    async def start(self, *, setup: bool | None = None) -> None:
        """Start the app: plugins, pool, tables. Any use does it; call it to fail early.

        `setup` takes the place of the setting for this start: whether tables are made or updated.
        Raises `ConfigurationError`, `PluginError`, `DatabaseUnavailable`, `DatabaseUnsupported`,
        `SchemaMissing`, `SchemaTooNew`, or `WrongEventLoop` where another event loop uses the app.
        """
        await self._ready(setup)

    async def close(self) -> None:
        """Close the app: workers of this process stop first, and what is being enqueued is written.
        A start under way ends before.

        May be called twice, and the app used again afterwards. Raises `WorkerRunning` in a job that
        a worker of this app runs, which would wait for itself.
        """
        self._leave_dead_loop()
        if self._is_in_a_job():
            raise WorkerRunning(
                "a job cannot close the app whose worker runs it; app.stop_workers() has the worker"
                " end when its jobs have ended"
            )
        self._stops += 1
        if self._is_being_announced():
            raise AppNotStarted(
                "the app is being started; `started` cannot close it, but an error ends the start"
            )

        await self._start_has_ended()
        if self._runtime is not None:
            await self._end_workers()
        await self._close_runtime()
        self.closed = self._runtime is None

    def _is_being_announced(self) -> bool:
        """Whether the caller is a plugin that is being told of the start, before all have been."""
        return (
            self._runtime is not None
            and self._announced is not self._runtime
            and _announcing.get() is self._runtime
        )

    async def _start_has_ended(self) -> None:
        """Wait for the start that is under way, unless it, or a close, waits for this task: a
        lifespan may close the app as it is entered, or left.
        """
        if self._starting is None or asyncio.current_task() in (self._starter, self._closer):
            return
        loop, lock = self._starting
        if loop is asyncio.get_running_loop():
            async with lock:
                pass

    async def _close_runtime(self) -> None:
        """Close the parts in use. A use meanwhile waits for that, and starts the app again."""
        if self._runtime is None or self._starting is None:
            return
        async with self._starting[1]:
            runtime, self._runtime, self._announced = self._runtime, None, None
            if runtime is not None:  # no other call has closed it meanwhile
                self._closer = asyncio.current_task()
                try:
                    await runtime.close()
                finally:
                    self._closer = None

    async def _end_workers(self) -> None:
        for worker in list(self._workers):  # their handlers may still enqueue
            worker.stop()
            await worker.finished.wait()

    def _is_in_a_job(self) -> bool:
        """Whether the caller is a job that a worker of this app runs."""
        if not self._workers or self._runtime is None:
            return False
        from soniq.worker.contained import of_a_handler  # it is loaded: there are workers

        return of_a_handler.get() is self._runtime.database

    async def __aenter__(self) -> Self:
        (await self._ready()).blocks += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the app with the last block that is left, and not amid the work of others; in a
        job, its worker goes on.
        """
        if self._runtime is not None:
            self._runtime.blocks -= 1
            if self._runtime.blocks > 0 or self._is_in_a_job():
                return
        await self.close()

    async def run_worker(
        self,
        *,
        concurrency: int | None = None,
        queues: Sequence[str] | Mapping[str, int] | None = None,
        run_once: bool = False,
        max_jobs: int | None = None,
        max_memory: int | None = None,
        signals: bool = True,
    ) -> int:
        """Run jobs until SIGTERM, SIGINT or `close()`; with `run_once`, until nothing is due.
        Returns how many attempts ran.

        `concurrency`: how many jobs run at once, else that of the settings. `queues`: only these,
        or each with a concurrency of its own: `{"media": 2, "default": 20}`. With `run_once` no
        signal handlers are installed, and jobs that are due later, retries included, are left for
        later. After `max_jobs` attempts, or at `max_memory` bytes of resident memory, it claims no
        more and ends when what runs has ended, to be started again by its supervisor. The handlers
        of SIGTERM and SIGINT that others put in, as a web server does, are called as well;
        `signals=False` installs none, and `stop_workers()` or `close()` ends it. Raises
        `InvalidOption`, and what `start` raises if it is the first use.
        """
        from soniq.worker.limits import Limits  # all that enqueues has no need of the worker
        from soniq.worker.services import WorkerOptions
        from soniq.worker.together import check_work, run_together

        stops = self._stops
        runtime = await self._ready()
        shares = check_work(queues, concurrency, runtime.settings.concurrency, max_jobs, max_memory)
        runtime.registry.warn_of_queues(queue for names, _ in shares for queue in names or ())
        total = 0
        while True:
            limits = Limits(max_jobs and max_jobs - total, max_memory)
            workers = [
                runtime.worker(
                    WorkerOptions(
                        concurrency=each,
                        queues=list(names) if names is not None else None,
                        run_once=run_once,
                        signals=signals and not run_once,
                    ),
                    limits,
                )
                for names, each in shares
            ]
            self._workers.update(workers)
            if self._stops != stops:
                self.stop_workers()

            try:
                count = await run_together(workers, limits, run_once=run_once)
            finally:
                self._workers.difference_update(workers)
            total += count
            # Where several run once, one may have enqueued for another.
            if len(workers) == 1 or not run_once or not count:
                return total

    def stop_workers(self, *, now: bool = False) -> None:
        """Ask the workers that this app runs in this process to stop, as SIGTERM does; returns at
        once. Those whose app is still being started end before they claim anything.

        `now`: the running attempts get no grace time, or no more of it, as with a second SIGTERM.
        """
        self._stops += 1

        loop = self._runtime.loop if self._runtime is not None else None
        for worker in list(self._workers):
            if loop is None or loop.is_closed() or asyncio._get_running_loop() is not None:
                worker.stop(now=now)
            else:  # its event loop stands still, or is another thread's
                loop.call_soon_threadsafe(partial(worker.stop, now=now))

    @property
    def working(self) -> bool:
        """Whether a worker of this app runs in this process."""
        return bool(self._workers)

    def _hand_back(self, seconds: float) -> None:
        """Give back all jobs of this process's workers, from a thread beside their event loop,
        which stands still.

        For a process that is about to end, within `seconds`: what the workers still do about these
        jobs counts no more.
        """
        for worker in list(self._workers):
            worker.hand_back(seconds)

    def since_last_turn(self) -> float | None:
        """Seconds since the slowest of this process's workers went round its claim loop; None where
        none runs.

        For health checks of a program that runs a worker. It goes round at least once in a poll
        interval; while the database is away, each try to reach it counts.
        """
        return max((worker.since_last_turn() for worker in list(self._workers)), default=None)

    async def _ready(self, setup: bool | None = None) -> Runtime:
        """The parts of the app, started once, by the first use."""
        self._leave_dead_loop()
        runtime = self._runtime
        if runtime is None or (self._announced is not runtime and _announcing.get() is not runtime):
            runtime = await self._begin(setup)
        if self._changed and not self._workers:
            self._changed = False  # before: another thread may add a job meanwhile
            try:
                self._rebuild(runtime)
            except BaseException:
                self._changed = True
                raise
        return runtime

    async def _begin(self, setup: bool | None) -> Runtime:
        """Start the app, or wait until the start that is under way has ended."""
        if self._starter is not None and self._starter is asyncio.current_task():
            raise AppNotStarted(
                "the app is being started; database_url and lifespan cannot use it before it is"
            )
        if self._closer is not None and self._closer is asyncio.current_task():
            raise AppNotStarted("the app is being closed; lifespan cannot use it any more")

        loop = asyncio.get_running_loop()
        if self._starting is None or self._starting[0] is not loop:
            self._starting = (loop, asyncio.Lock())
        async with self._starting[1]:
            if self._runtime is None:
                self._changed = self.closed = False
                self._starter = asyncio.current_task()
                try:
                    self._runtime = await self._start(setup)
                    await self._announce(self._runtime)
                finally:
                    self._starter = None
            return self._runtime

    async def _announce(self, runtime: Runtime) -> None:
        """Tell the plugins that the app can be used. An error in one closes it again."""
        token = _announcing.set(runtime)
        try:
            await announce(runtime)
        except BaseException:
            await self._end_workers()
            self._runtime = None
            await runtime.close()
            raise
        finally:
            _announcing.reset(token)
        self._announced = runtime

    def _loop_in_use(self) -> asyncio.AbstractEventLoop | None:
        """The event loop in which the app is in use, or being started; None where that is closed,
        or the parent's.
        """
        runtime, starting = self._runtime, self._starting
        loop = runtime.loop if runtime is not None else None
        if loop is None and starting is not None and starting[1].locked():
            loop = starting[0]
        return None if loop is None or loop.is_closed() or self._process != os.getpid() else loop

    def _loop_elsewhere(self) -> asyncio.AbstractEventLoop | None:
        """The running event loop of another thread in which the app is in use, or is to be used,
        where there is one here, too.
        """
        here, runtime = asyncio._get_running_loop(), self._runtime
        if here is None or (runtime is not None and runtime.loop is here):
            return None
        in_use = self._loop_in_use()
        if in_use is None:
            return self._loop_of_sync() if self._loops_end else None
        return in_use if in_use is not here and in_use.is_running() else None

    def _loop_has_ended(self) -> None:
        """The event loop in which it was in use has ended while calls from others ran in it: the
        next of them is not to have it.
        """
        self._loops_end = True

    def _leave_dead_loop(self) -> None:
        """Forget the parts in use if their event loop is closed. Raises `WrongEventLoop` if it is
        another, live one.
        """
        in_use = self._loop_in_use()
        if in_use is not None and in_use is not asyncio.get_running_loop():
            if self._is_of_sync(in_use):
                raise WrongEventLoop(
                    "app.sync has this app in use, in a thread of its own: enqueue and look up as"
                    " you like, but to start, close or work here call app.sync.close() before, or"
                    " start the app here before app.sync is used (async with app: ...), which then"
                    " works in this event loop"
                )
            raise WrongEventLoop(
                "this app is in use in another event loop; close it there, or make an app for each"
                " loop"
            )

        if self._process != os.getpid():
            self._leave_parent()
        elif in_use is None and self._runtime is not None:
            self._runtime.database.abandon()
            self._runtime = self._announced = self._starting = None

    def _leave_parent(self) -> None:
        """Begin anew after a fork. What was inherited is kept and never closed: its sockets are
        the parent's.
        """
        self._inherited.append(
            (self._runtime, self._starting, self._starter, self._closer, self._workers)
        )
        self._runtime = self._announced = self._starting = None
        self._starter = self._closer = None
        self._loops_end = False
        self._workers = set()
        self._process = os.getpid()
