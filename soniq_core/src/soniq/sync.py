"""`app.sync`: the app's calls for code that is not asynchronous, on an event loop in a thread of
its own.

The app belongs to one event loop. Where it is in use in a loop of the application's already, as in
a worker or in FastAPI, the calls run in that one; else the first starts the thread, which ends with
`close`, or with the process. A process that was forked has a thread and connections of its own.
"""

import asyncio
import atexit
import logging
import math
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from soniq.bridge import BridgedCall
from soniq.client import Client
from soniq.errors import AppClosed, WrongEventLoop
from soniq.ids import JobId
from soniq.job.job import Call, Job
from soniq.life import Life

log = logging.getLogger("soniq")

P = ParamSpec("P")
T = TypeVar("T")

CHECK_INTERVAL = 1.0
"""Seconds between two looks whether the event loop that is waited for still runs."""

EXIT_TIMEOUT = 10.0
"""Seconds that closing may take when the process ends."""


def _blocking(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> "Callable[Concatenate[Sync, P], T]":
    """The same method, for callers that wait."""

    @wraps(method)
    def call(sync: "Sync", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return sync.run(method(sync.app, *args, **kwargs))

    return call


def _until_signal(call: "Callable[Concatenate[Sync, P], T]") -> "Callable[Concatenate[Sync, P], T]":
    """The same call of a worker, which signals stop where the main thread waits for it."""

    @wraps(call)
    def listening(sync: "Sync", /, *args: P.args, **kwargs: P.kwargs) -> T:
        if kwargs.get("run_once") or not kwargs.get("signals", True):
            return call(sync, *args, **kwargs)

        from soniq.worker.interrupts import listen  # all that enqueues has no need of the worker

        end = listen()
        try:
            return call(sync, *args, **kwargs)
        finally:
            end()

    return listening


class Sync:
    """The methods of an app that wait, for code that is not asynchronous. Any thread may call them.

    They take, return and raise what the app's own do, and last as long. Ctrl-C ends the wait, and
    what is waited for. Raises `WrongEventLoop` in a thread that runs an event loop: a call would
    block that.
    """

    def __init__(self, app: Client, here: "Callable[[], Sync]") -> None:
        self.app = app
        self._here = here  # that of the process in which it is asked for
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._first = True  # whether no call in a loop of its own has been answered
        self._thread: threading.Thread | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop of the thread, while there is one."""

    start = _blocking(Life.start)
    enqueue = _blocking(Client.enqueue)
    get_job_status = _blocking(Client.get_job_status)
    get_job = _blocking(Client.get_job)
    get_args = _blocking(Client.get_args)
    wait_for = _blocking(Client.wait_for)
    jobs = _blocking(Client.jobs)
    search = _blocking(Client.search)
    count = _blocking(Client.count)
    facets = _blocking(Client.facets)
    counts = _blocking(Client.counts)
    queues = _blocking(Client.queues)
    cancel = _blocking(Client.cancel)
    cancel_many = _blocking(Client.cancel_many)
    cancel_all = _blocking(Client.cancel_all)
    delete = _blocking(Client.delete)
    delete_many = _blocking(Client.delete_many)
    delete_all = _blocking(Client.delete_all)
    retry = _blocking(Client.retry)
    retry_many = _blocking(Client.retry_many)
    retry_all = _blocking(Client.retry_all)
    release = _blocking(Client.release)
    release_all = _blocking(Client.release_all)
    pause = _blocking(Client.pause)
    resume = _blocking(Client.resume)
    prune = _blocking(Client.prune)
    overview = _blocking(Client.overview)
    backlog = _blocking(Client.backlog)
    run_worker = _until_signal(_blocking(Life.run_worker))

    def enqueue_many(
        self, job: Job[..., Any] | str, arguments: Iterable[Mapping[str, object]], /, **options: Any
    ) -> list[JobId]:
        """As `Soniq.enqueue_many`; a generator of arguments runs in the caller's thread."""
        return self.run(self.app.enqueue_many(job, list(arguments), **options))

    def enqueue_all(
        self, calls: Iterable[Call], *, connection: Any = None, notify: bool = True
    ) -> list[JobId]:
        """As `Soniq.enqueue_all`; a generator of calls runs in the caller's thread."""
        return self.run(self.app.enqueue_all(list(calls), connection=connection, notify=notify))

    @overload
    def get_result(self, job_id: str) -> Any: ...

    @overload
    def get_result(self, job_id: str, *, stream: Literal[True]) -> Iterator[bytes] | None: ...

    def get_result(self, job_id: str, *, stream: bool = False) -> Any:
        """The result of a job, as `Soniq.get_result` gives it; with `stream` an iterator over its
        bytes.
        """
        if not stream:
            return self.run(self.app.get_result(job_id))
        chunks = self.run(self.app.get_result(job_id, stream=True))
        return None if chunks is None else self._each(chunks)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine of the app's, such as `job.using(delay=60).enqueue(user_id=42)`;
        what it returns.

        It runs in the app's event loop, in a copy of the caller's context.
        """
        if asyncio._get_running_loop() is not None:
            coroutine.close()
            raise WrongEventLoop(
                "app.sync would block the event loop that runs in this thread; await the app's own"
                " method here, or call app.sync in another thread (asyncio.to_thread)"
            )
        if self._process != os.getpid():  # a method that was looked up before a fork
            return self._here().run(coroutine)
        call = BridgedCall(self.app, coroutine)
        try:
            loop, answer = self._answer(call)
        finally:
            call.drop()
        if self._first and loop is self.loop:
            # At the exit, the app is closed before what its plugins registered while it started
            self._first = False
            atexit.unregister(self._at_exit)
            atexit.register(self._at_exit)
        return answer

    def close(self) -> None:
        """Close the app and the thread, if this started them; what is being enqueued is written.

        May be called twice, and the app used again. An app in use in an event loop of the
        application's stays open.
        """
        if self._process != os.getpid():
            self._here().close()
        elif threading.current_thread() is self._thread:
            raise WrongEventLoop("app.sync cannot be closed by what runs in its own thread")
        else:
            self._close()

    def _answer(self, call: BridgedCall[T]) -> tuple[asyncio.AbstractEventLoop, T]:
        """Run a call; where its event loop ends before it has begun, in the one in which the app is
        in use then. That loop, and what the call returns.
        """
        while True:
            loop, future = self._submit(call)
            try:
                return loop, _waited(loop, future)
            except AppClosed:
                for seconds in call.pauses(loop):
                    time.sleep(seconds)
                if call.is_bound_to(loop):
                    raise

    def _submit(self, call: BridgedCall[T]) -> tuple[asyncio.AbstractEventLoop, "Future[T]"]:
        """Have a call run in the loop that the app is in use in; in one of its own, if that is
        none.
        """
        with self._lock:
            loop = self.app._loop_in_use()
            # In one that does not run now, the app itself says so.
            if loop is None or not loop.is_running():
                loop = self._own_loop()
            call.has_begun = loop is self.loop  # which ends only where it is closed
            coroutine = call.coroutine if call.has_begun else call.run()
            return loop, asyncio.run_coroutine_threadsafe(coroutine, loop)

    def own_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of its own thread, which is started where it does not run."""
        with self._lock:
            return self._own_loop()

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        return self.loop if self.loop is not None and self.loop.is_running() else self._start()

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_default_executor(_UntilTheEnd())
        running = threading.Event()
        loop.call_soon(running.set)
        self._thread = threading.Thread(
            target=self._run, args=(loop,), name="soniq sync", daemon=True
        )
        self._thread.start()
        running.wait(EXIT_TIMEOUT)
        self.loop, self._first = loop, True
        atexit.register(self._at_exit)
        if "multiprocessing.util" in sys.modules:  # whose children end without what atexit has
            sys.modules["multiprocessing.util"].Finalize(None, self._at_exit, exitpriority=0)
        return loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """The thread: runs the loop until it is stopped, and ends what is left in it.

        A process that is forked meanwhile never leaves this frame, nor what it holds: the app,
        whose inherited sockets and selector are not to be closed at the end of that process.
        """
        try:
            loop.run_forever()
            if left := asyncio.all_tasks(loop):
                for task in left:
                    task.cancel()
                loop.run_until_complete(asyncio.wait(left, timeout=EXIT_TIMEOUT))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    def _close(self, limit: float = math.inf) -> None:
        with self._lock:
            loop, thread = self.loop, self._thread
            if loop is None or thread is None or not loop.is_running():
                return
            closing = asyncio.run_coroutine_threadsafe(self._close_app(loop), loop)
        try:
            _waited(loop, closing, limit)
        finally:
            with self._lock:
                unused = self.loop is loop and self.app._loop_in_use() is not loop
                if unused:  # since this close began
                    self.loop = self._thread = None
                    atexit.unregister(self._at_exit)
                    loop.call_soon_threadsafe(loop.stop)
                    thread.join(EXIT_TIMEOUT)

    async def _close_app(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.app._loop_in_use() is loop:
            await self.app.close()

    def _at_exit(self) -> None:
        """Close what the process leaves open. In a process that was forked, the parent's is none of
        its business.
        """
        try:
            if self._process == os.getpid():
                self._close(EXIT_TIMEOUT)
        except Exception as error:
            log.warning("the app could not be closed at the end of the process: %r", error)

    def _each(self, chunks: AsyncIterator[bytes]) -> Iterator[bytes]:
        async def following() -> bytes | None:
            return await anext(chunks, None)

        try:
            while (chunk := self.run(following())) is not None:
                yield chunk
        finally:
            close: Callable[[], Coroutine[Any, Any, None]] | None = getattr(chunks, "aclose", None)
            if close is not None:
                self.run(close())


class _UntilTheEnd(ThreadPoolExecutor):
    """Threads for what blocks; where the process ends there are none any more, and what plugins do
    while they leave (`asyncio.to_thread`) is done in place.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        try:
            return super().submit(fn, *args, **kwargs)
        except RuntimeError:
            done: Future[T] = Future()
            try:
                done.set_result(fn(*args, **kwargs))
            except Exception as error:
                done.set_exception(error)
            return done


def _waited(loop: asyncio.AbstractEventLoop, future: "Future[T]", limit: float = math.inf) -> T:
    """What the future brings, which runs in the loop; it is cancelled, if the wait ends before.
    `limit` in seconds.
    """
    ends = time.monotonic() + limit
    try:
        while not wait([future], min(CHECK_INTERVAL, limit)).done:
            if not loop.is_running() and not future.done():
                raise AppClosed("the event loop that the app is in use in does not run any more")
            if time.monotonic() >= ends:
                raise TimeoutError(f"not done after {limit:g} s")
        return future.result()
    except CancelledError:
        raise AppClosed(
            "the app, or its event loop, was closed before this call was done"
        ) from None
    finally:
        if not future.done() and loop.is_running():
            future.cancel()
