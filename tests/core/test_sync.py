"""`app.sync`: the same calls from code that is not asynchronous: threads, exits, forks, and loops
beside it.
"""

import asyncio
import contextvars
import inspect
import os
import signal
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, assert_type

import asyncpg
import pytest

from soniq import (
    InvalidArguments,
    InvalidOption,
    JobFailed,
    JobId,
    JobStatus,
    Soniq,
    SoniqError,
    WaitTimeout,
    hookimpl,
)
from soniq.plugin import EnqueueBatch
from soniq.sync import Sync
from tests.conftest import MakeApp

Program = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def app(make_app: MakeApp) -> Iterator[Soniq]:
    """An app that is used through `app.sync`, and closed there."""
    app = make_app()
    yield app
    app.sync.close()


@pytest.fixture
def program(database_url: str, schema: str, tmp_path: Path) -> Program:
    """Runs a program with an app `eq` and a job `double`; it says what it leaves open."""
    head = """
        import asyncio, gc, os, signal, sys, threading
        from soniq import Soniq, SoniqError

        eq = Soniq(discover=False)

        @eq.job(name="double")
        def double(n: int) -> int:
            return 2 * n
    """

    def run(text: str) -> "subprocess.CompletedProcess[str]":
        file = tmp_path / "program.py"
        file.write_text(textwrap.dedent(head) + textwrap.dedent(text))
        # what is left open is shown; that there are forks beside threads, which is what is tested,
        # is not
        warnings = (
            "-W",
            "default::ResourceWarning",
            "-W",
            "ignore:This process:DeprecationWarning",
        )
        command = [sys.executable, *warnings, str(file)]
        given = {**os.environ, "SONIQ_DATABASE_URL": database_url, "SONIQ_SCHEMA": schema}
        return subprocess.run(
            command, env=given, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def loop_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "soniq sync"]


# --- the calls -----------------------------------------------------------------------------------


def test_a_script_enqueues_works_and_reads_without_a_loop_of_its_own(app: Soniq) -> None:
    @app.job(name="add")
    async def add(a: int, b: int = 1) -> int:
        return a + b

    one = app.sync.enqueue(add, 1, b=2)
    ids = app.sync.enqueue_many(add, [{"a": 5}, {"a": 6}])
    waiting = app.sync.get_job_status(one)
    assert_type(one, JobId)
    assert_type(ids, list[JobId])
    assert_type(waiting, JobStatus | None)
    assert waiting is not None
    assert waiting["status"] == "queued"
    assert app.sync.get_args(one) == {"a": 1, "b": 2}
    assert app.sync.run_worker(run_once=True) == 3
    assert app.sync.wait_for(one, timeout=5) == 3
    assert [app.sync.get_result(each) for each in ids] == [6, 7]
    assert {job["job_id"] for job in app.sync.jobs(status="done")} == {one, *ids}


def test_jobs_are_cancelled_retried_counted_and_forgotten(app: Soniq) -> None:
    @app.job(name="fail", max_attempts=1)
    async def fail() -> None:
        raise ValueError("no")

    dead = app.sync.enqueue(fail)
    app.sync.run_worker(run_once=True)
    app.sync.retry(dead)
    assert app.sync.backlog()["default"]["waiting"] == 1
    assert app.sync.cancel(dead, reason="enough")
    assert app.sync.overview()["queues"] == {"default": {"cancelled": 1}}
    assert app.sync.prune(older_than=0) == 1
    assert app.sync.get_job_status(dead) is None


def test_the_typed_form_of_a_job_runs_as_a_coroutine_that_is_waited_for(app: Soniq) -> None:
    @app.job(name="add")
    async def add(a: int, b: int) -> int:
        return a + b

    job = app.sync.run(add.using(delay=3600).enqueue(a=1, b=2))
    status = app.sync.get_job_status(job)
    assert status is not None
    assert (status["scheduled_at"] - status["created_at"]).total_seconds() == pytest.approx(
        3600, abs=5
    )


def test_a_generator_of_arguments_runs_in_the_callers_thread_and_its_error_reaches_the_caller(
    app: Soniq,
) -> None:
    @app.job(name="add")
    def add(n: int) -> None: ...

    threads: set[threading.Thread] = set()

    def arguments(fails: bool) -> Iterator[dict[str, object]]:
        for n in range(3):
            threads.add(threading.current_thread())
            yield {"n": n}
        if fails:
            raise LookupError("no more")

    assert len(app.sync.enqueue_many(add, arguments(False))) == 3
    with pytest.raises(LookupError, match="no more"):
        app.sync.enqueue_many(add, arguments(True))
    assert threads == {threading.current_thread()}
    assert len(app.sync.jobs()) == 3


def test_every_method_that_waits_is_there_with_its_signature_and_its_text() -> None:
    inside = {"call"}
    for name, method in inspect.getmembers(Soniq, inspect.iscoroutinefunction):
        if name.startswith("_") or name in inside:
            continue
        blocking = getattr(Sync, name)
        assert not inspect.iscoroutinefunction(blocking), name
        assert blocking.__doc__, name
        if name not in ("close", "get_result"):
            assert inspect.signature(blocking) == inspect.signature(method), name


def test_a_streamed_result_comes_piece_by_piece(app: Soniq) -> None:
    @app.job(name="pieces")
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    job = app.sync.enqueue(pieces)
    assert app.sync.get_result(job, stream=True) is None
    app.sync.run_worker(run_once=True)
    chunks = app.sync.get_result(job, stream=True)
    assert chunks is not None
    assert b"".join(chunks) == b"onetwo"


# --- errors, limits, context ---------------------------------------------------------------------


def test_an_error_is_the_same_and_its_traceback_leads_to_the_call(app: Soniq) -> None:
    @app.job(name="add")
    async def add(a: int) -> int:
        return a

    with pytest.raises(InvalidArguments, match="add") as caught:
        app.sync.enqueue(add, "no number")
    functions = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert functions[0] == "test_an_error_is_the_same_and_its_traceback_leads_to_the_call"
    assert functions.index("run") < functions.index("enqueue")


def test_a_dead_job_and_one_that_takes_too_long_raise_what_they_raise_elsewhere(app: Soniq) -> None:
    @app.job(name="fail", max_attempts=1)
    async def fail() -> None:
        raise ValueError("no")

    job = app.sync.enqueue(fail)
    with pytest.raises(WaitTimeout):
        app.sync.wait_for(job, timeout=0.05)
    app.sync.run_worker(run_once=True)
    with pytest.raises(JobFailed, match="ValueError: no"):
        app.sync.wait_for(job, timeout=5)


def test_context_variables_of_the_caller_reach_around_enqueue(make_app: MakeApp) -> None:
    request = contextvars.ContextVar("request", default="none")

    class Tracing:
        name = "tracing"

        @hookimpl
        async def around_enqueue(self, batch: EnqueueBatch) -> AsyncIterator[None]:
            for job in batch.jobs:
                job.headers["request"] = request.get()
            yield

    app = make_app(plugins=[Tracing()], unknown_jobs="allow")
    seen: list[str] = []

    @app.before_job
    def note(ctx: Any) -> None:
        seen.append(ctx.headers["request"])

    @app.job(name="nothing")
    async def nothing() -> None: ...

    def view(name: str) -> None:
        request.set(name)
        app.sync.enqueue(nothing)

    try:
        for name in ("first", "second"):
            contextvars.copy_context().run(view, name)
        app.sync.enqueue(nothing)
        app.sync.run_worker(run_once=True)
    finally:
        app.sync.close()
    assert sorted(seen) == ["first", "none", "second"]


@pytest.mark.skipif(sys.platform == "win32", reason="a signal cannot be sent to oneself there")
def test_ctrl_c_ends_the_wait_and_what_is_waited_for(app: Soniq) -> None:
    cancelled = threading.Event()

    main = threading.main_thread().ident
    assert main is not None

    async def interrupted() -> None:
        while (
            sys._current_frames()[main].f_code.co_filename != threading.__file__
        ):  # not waiting yet
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(KeyboardInterrupt):
        app.sync.run(interrupted())
    assert cancelled.wait(10)
    assert app.sync.jobs() == []


# --- threads -------------------------------------------------------------------------------------


def test_threads_share_one_loop_and_their_enqueues_share_inserts(
    make_app: MakeApp, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    callers = 40
    together = threading.Barrier(callers)

    class Together:
        name = "together"
        met = 0
        all_here = asyncio.Event()

        @hookimpl
        async def around_enqueue(self, batch: EnqueueBatch) -> AsyncIterator[None]:
            self.met += 1
            if self.met == callers:
                self.all_here.set()
            await self.all_here.wait()
            yield

    app = make_app(plugins=[Together()], unknown_jobs="allow")

    def view(number: int) -> JobId:
        together.wait(30)
        return app.sync.enqueue("count", number=number)

    try:
        with ThreadPoolExecutor(callers) as threads:
            ids = list(threads.map(view, range(callers), timeout=60))
        assert len(loop_threads()) == 1
        assert len(set(ids)) == callers
        rows = app.sync.run(_transactions(app))
        assert (sum(rows), len(rows) < callers / 2) == (callers, True), rows
    finally:
        app.sync.close()


async def _transactions(app: Soniq) -> list[int]:
    """How many jobs each transaction inserted."""
    async with app.connection() as connection:
        rows = await connection.fetch(
            f"select count(*) from {app.settings.schema}.job group by xmin::text"
        )
        return [row[0] for row in rows]


def test_a_connection_of_asyncpg_is_refused_because_it_belongs_to_another_loop(
    app: Soniq, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    @app.job(name="nothing")
    async def nothing() -> None: ...

    with pytest.raises(InvalidOption, match="another event loop"):
        app.sync.enqueue(nothing, connection=connection)
    assert app.sync.jobs() == []


# --- the end -------------------------------------------------------------------------------------


def test_a_closed_app_can_be_used_again(app: Soniq) -> None:
    app.sync.overview()
    app.sync.close()
    app.sync.close()
    assert loop_threads() == []
    app.sync.overview()
    assert len(loop_threads()) == 1


def test_closing_ends_the_calls_that_wait(app: Soniq) -> None:
    waiting = threading.Event()

    async def forever() -> None:
        waiting.set()
        await asyncio.Event().wait()

    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(app.sync.run, forever())
        assert waiting.wait(10)
        app.sync.close()
        with pytest.raises(SoniqError, match="closed before"):
            call.result(10)


def test_a_script_that_closes_nothing_ends_by_itself_and_without_a_word(program: Program) -> None:
    done = program("""
        eq.sync.enqueue(double, 2)
        eq.sync.run_worker(run_once=True)
        print(eq.sync.jobs()[0]["status"])
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_what_was_enqueued_last_has_been_committed_when_the_process_ends(program: Program) -> None:
    done = program("""
        def main():
            eq.sync.enqueue(double, 2)

        thread = threading.Thread(target=main)
        thread.start()
        eq.sync.enqueue(double, 3)
    """)
    assert (done.returncode, done.stderr) == (0, "")
    assert program("print(len(eq.sync.jobs()))").stdout == "2\n"


def test_a_process_ends_although_a_daemon_thread_waits_for_a_job(program: Program) -> None:
    done = program("""
        job = eq.sync.enqueue(double, 2)
        waits = threading.Event()

        async def wait():
            waits.set()
            await eq.wait_for(job)

        def view():
            try:
                eq.sync.run(wait())
            except Exception as error:
                print(error, flush=True)

        threading.Thread(target=view, daemon=True).start()
        waits.wait()
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_ends_a_script_that_waits(program: Program) -> None:
    done = program("""
        job = eq.sync.enqueue(double, 2)

        async def wait():
            os.kill(os.getpid(), signal.SIGINT)
            await eq.wait_for(job)

        eq.sync.run(wait())
    """)
    assert done.returncode == -signal.SIGINT
    assert done.stderr.endswith("KeyboardInterrupt\n")
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_the_main_thread_waits_for_ends_what_it_runs_when_it_is_told_to_stop(
    program: Program, number: signal.Signals
) -> None:
    done = program(f"""
        number = signal.Signals({int(number)})
        before = signal.getsignal(number)

        @eq.job(name="told", queue="told")
        async def told() -> str:
            os.kill(os.getpid(), number)
            while not eq_context.stopping:
                await asyncio.sleep(0.01)
            return "ended"

        @eq.before_job
        def note(ctx):
            global eq_context
            eq_context = ctx

        job = eq.sync.enqueue(told)
        print(eq.sync.run_worker(concurrency=1), eq.sync.get_result(job), signal.getsignal(number) is before)
    """)
    assert (done.returncode, done.stdout) == (0, "1 ended True\n"), done.stderr


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)]
)
def test_a_signal_before_the_worker_has_begun_ends_the_wait_for_it(
    program: Program, number: signal.Signals, status: int
) -> None:
    done = program(f"""
        from soniq import hookimpl

        class Slow:
            @hookimpl
            async def lifespan(self, app):
                os.kill(os.getpid(), {int(number)})
                await asyncio.Event().wait()
                yield

        Soniq(discover=False, plugins=[Slow()]).sync.run_worker()
    """)
    assert done.returncode == status, done.stderr


def test_a_plugin_that_leaves_in_a_thread_does_so_at_the_end_of_the_process(
    program: Program,
) -> None:
    done = program("""
        from soniq import hookimpl

        class Leaving:
            name = "leaving"

            @hookimpl
            async def lifespan(self, app):
                yield
                await asyncio.to_thread(print, "left")

        app = Soniq(discover=False, plugins=[Leaving()])
        app.sync.overview()
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")


# --- forks ---------------------------------------------------------------------------------------

BACKEND = """
async def backend():
    await eq.start()
    async with eq.connection() as connection:
        return await connection.fetchval("select pg_backend_pid()")

async def notified():
    await asyncio.wait([eq._runtime._notifier._task])

def fork(child, end=sys.exit):
    pid = os.fork()
    if pid == 0:
        end(child())
    return pid

def ended_well(pid):
    return os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("found", ["before", "after"])
def test_a_child_has_a_thread_and_connections_of_its_own_and_the_parent_keeps_its(
    program: Program, found: str
) -> None:
    done = program(f"""
        {textwrap.indent(BACKEND, " " * 8)}
        run = eq.sync.run if {found == "before"} else lambda coroutine: eq.sync.run(coroutine)
        eq.sync.enqueue(double, 0)
        run(notified())
        own = run(backend())

        def child():
            others = {{run(backend()), run(eq.enqueue(double, 1)) and run(backend())}}
            gc.collect()
            return int(own in others)

        children = [fork(child) for _ in range(3)]
        eq.sync.enqueue(double, 2)
        print(all([ended_well(pid) for pid in children]), own == run(backend()))
        eq.sync.enqueue(double, 3)
        run(notified())
        print(eq.sync.run_worker(run_once=True))
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True True\n6\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_of_multiprocessing_has_woken_the_workers_when_it_ends(program: Program) -> None:
    done = program("""
        import multiprocessing

        async def main():
            heard = asyncio.Event()
            async with eq, eq.connection() as connection:
                await connection.add_listener(eq.settings.schema, lambda *about: heard.set())
                child = multiprocessing.get_context("fork").Process(target=eq.sync.enqueue, args=(double, 1))
                child.start()
                await asyncio.to_thread(child.join)
                print(child.exitcode)
                await asyncio.wait_for(heard.wait(), 20)
                await connection.reset()

        asyncio.run(main())
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_that_does_not_use_the_app_ends_without_a_trace(program: Program) -> None:
    done = program(f"""
        {textwrap.indent(BACKEND, " " * 8)}
        eq.sync.enqueue(double, 0)
        own = eq.sync.run(backend())
        print(ended_well(fork(lambda: 0)), own == eq.sync.run(backend()))
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True True\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_in_a_child_the_app_has_not_been_started(program: Program) -> None:
    done = program(f"""
        {textwrap.indent(BACKEND, " " * 8)}
        eq.sync.start()

        def child():
            try:
                return int(bool(eq._database))
            except SoniqError:
                return 0

        print(ended_well(fork(child)))
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_while_another_thread_starts_and_closes_locks_nobody_out(program: Program) -> None:
    done = program(f"""
        {textwrap.indent(BACKEND, " " * 8)}
        eq.sync.start()
        eq.sync._lock.acquire()
        child = fork(lambda: eq.sync.enqueue(double, 1) and 0)
        print(ended_well(child))
        eq.sync._lock.release()
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_may_use_an_app_that_its_parent_has_in_a_loop(program: Program) -> None:
    done = program(f"""
        {textwrap.indent(BACKEND, " " * 8)}

        async def main():
            async with eq:
                own = await backend()
                child = fork(lambda: int(eq.sync.run(backend()) == own), os._exit)
                print(await asyncio.to_thread(ended_well, child), own == await backend())
                child = fork(lambda: int(asyncio.run(eq.enqueue(double, 1)) is None), os._exit)
                print(await asyncio.to_thread(ended_well, child), own == await backend())

        asyncio.run(main())
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True True\nTrue True\n", "")


# --- beside an event loop ------------------------------------------------------------------------


async def test_a_call_where_an_event_loop_runs_says_what_to_do(app: Soniq) -> None:
    with pytest.raises(SoniqError, match="await the app's own method"):
        app.sync.overview()
    assert loop_threads() == []


async def test_calls_run_in_the_loop_in_which_the_app_is_in_use(app: Soniq) -> None:
    @app.job(name="double")
    async def double(n: int) -> int:
        return 2 * n

    async with app:
        job = await asyncio.to_thread(app.sync.enqueue, double, 2)
        assert loop_threads() == []
        await app.run_worker(run_once=True)
        assert await asyncio.to_thread(app.sync.wait_for, job, 5) == 4
        await asyncio.to_thread(app.sync.close)
        assert await app.get_result(job) == 4


async def test_a_handler_in_a_thread_may_enqueue_and_wait(app: Soniq) -> None:
    @app.job(name="double")
    async def double(n: int) -> int:
        return 2 * n

    @app.job(name="outer")
    def outer(n: int) -> int:
        return 1 + int(app.sync.wait_for(app.sync.enqueue(double, n), timeout=30))

    async with app:
        job = await app.enqueue(outer, 2)
        await app.run_worker(run_once=True)
        assert await app.get_result(job) == 5


async def test_an_app_that_sync_has_in_use_says_how_both_work(app: Soniq) -> None:
    await asyncio.to_thread(app.sync.overview)
    for needs_its_own in (app.run_worker(), app.start(), app.__aenter__()):
        with pytest.raises(SoniqError, match=r"app\.sync\.close\(\)"):
            await needs_its_own
    with pytest.raises(SoniqError, match=r"app\.sync\.close\(\)"):
        await app.close()
    app.sync.close()
    async with app:
        await asyncio.to_thread(app.sync.overview)
    assert loop_threads() == []


def test_sync_goes_on_by_itself_where_the_loop_is_gone(program: Program) -> None:
    done = program("""
        asyncio.run(eq.enqueue(double, 1))
        print(eq.sync.run_worker(run_once=True))
    """)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_a_loop_that_does_not_run_now_is_an_error_and_no_wait_for_ever(app: Soniq) -> None:
    with asyncio.Runner() as runner:
        runner.run(app.start())
        with pytest.raises(SoniqError, match="another event loop"):
            app.sync.jobs()
        runner.run(app.close())


def test_a_loop_that_stops_meanwhile_ends_the_call(app: Soniq) -> None:
    in_use, waits = threading.Event(), threading.Event()

    async def forever() -> None:
        waits.set()
        await asyncio.Event().wait()

    async def main() -> None:
        await app.start()
        in_use.set()
        await asyncio.to_thread(waits.wait, 30)

    loop = asyncio.new_event_loop()
    with ThreadPoolExecutor(2) as threads:
        threads.submit(loop.run_until_complete, main())
        assert in_use.wait(30)
        with pytest.raises(SoniqError, match="does not run any more"):
            threads.submit(app.sync.run, forever()).result(30)
    loop.run_until_complete(app.close())
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_what_runs_in_the_thread_can_neither_call_nor_close_it(app: Soniq) -> None:
    async def calls() -> None:
        app.sync.overview()

    async def closes() -> None:
        app.sync.close()

    with pytest.raises(SoniqError, match="would block"):
        app.sync.run(calls())
    with pytest.raises(SoniqError, match="in its own thread"):
        app.sync.run(closes())
