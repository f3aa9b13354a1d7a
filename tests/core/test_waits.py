"""Whatever waits, and whatever tries again, has an end: found in the sources, or named here with
why it needs none.

A wait is bounded where a limit can be read at the place itself: `timeout=`, or `async with
asyncio.timeout(...)` around it in the same function. A new one without either fails this test until
it has a limit or a line below.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SOURCES = [*ROOT.glob("soniq_core/src"), *ROOT.glob("plugins/*/src")]

WAITING = {"wait", "gather", "join", "shield", "wait_for", "wait_closed", "communicate", "result"}
"""Methods and functions whose calls may wait; `result` of a future of another thread."""

FOR_LIFE = "runs for as long as its worker does, which cancels it, with a pause in each round"
GETS_SMALLER = "each round takes some of what there is; each statement has `command_timeout`"

REASONS: dict[str, str] = {
    "soniq/life.py Life._end_workers worker.finished.wait": "a worker that was told to stop: grace and some seconds",
    "soniq/life.py Life.run_worker while True": "ends where nothing is due, and with `stop_workers`",
    "soniq/client.py Client.wait_for (await self._ready()).lookup.wait_for": "as long as the caller said",
    "soniq/bridge.py _across future.result": "of a future that is done",
    "soniq/bridge.py _carried while True": "until MOST_LOOPS event loops have ended",
    "soniq/job/job.py JobCalls.wait_for self._target()[1].wait_for": "as long as the caller said",
    "soniq/cli/health.py Health.run while True": FOR_LIFE,
    "soniq/cli/leaving.py Leaving._wait while True": "ends with its time, or with the process",
    "soniq/cli/plugins.py survey while True": "each round leaves out one plugin more",
    "soniq/cli/reload.py _end worker.wait": "of a process that was killed",
    "soniq/cli/worker.py _in_a_loop task.result": "of a task that is done",
    "soniq/cli/worker.py _start while True": "ends after the patience that was given",
    "soniq/cli/worker.py _stop_without while True": "until the process has ended; `Leaving` ends it in time",
    "soniq/enqueue/kept.py KeptConnection.close asyncio.wait": "a connection that is not given back in time is ended",
    "soniq/enqueue/outbox.py Outbox.close asyncio.gather": "each queue closes within its own limit",
    "soniq/hooks/dispatch.py _Resumed.__await__ while True": "steps of one coroutine, under the hook's limit",
    "soniq/postgres/connections.py dial asyncio.shield": "a connect, which has `connect_timeout`",
    "soniq/postgres/connections.py _hang_up dialing.result": "of a task that is done",
    "soniq/postgres/connections.py _let_end dialing.result": "of a task that is done",
    "soniq/postgres/lookup.py Lookup._awaited while True": "ends with the caller's timeout; each look has a limit",
    "soniq/postgres/operations.py Operations.cancel while True": "again only where the job changed meanwhile",
    "soniq/postgres/operations.py Operations.retry while True": "again only where the job changed meanwhile",
    "soniq/postgres/retention.py Retention._forget while True": GETS_SMALLER,
    "soniq/sync.py Sync._answer while True": "until MOST_LOOPS event loops have ended",
    "soniq/sync.py _waited future.result": "as long as the call in the loop does, which has its own limits",
    "soniq/worker/background.py BackgroundLoop.run while True": FOR_LIFE,
    "soniq/worker/background.py repeat while True": FOR_LIFE,
    "soniq/worker/settling/refusals.py over_refusals while True": "each round charges a plugin, until it is left out",
    "soniq/worker/settling/exchange.py Claimer.exchange while True": "waits for a database that is away; the end of the worker ends it",
    "soniq/worker/slots.py Slots.end asyncio.gather": "of hooks, each under its limit",
    "soniq/worker/slots.py Slots.take_away while True": "takes from a deque until that is empty",
    "soniq/worker/survey.py Survey.whole while True": GETS_SMALLER,
    "soniq/worker/tasks.py ElectedTask.ended self._supervised.join": "of a task that was cancelled, within the limit of the end",
    "soniq/worker/together.py _run_all asyncio.wait": "for as long as the workers run",
    "soniq/worker/together.py _run_all task.result": "of a task that is done",
    "soniq/worker/together.py _ended asyncio.wait": "workers that were told to stop: grace and some seconds",
    "soniq/worker/worker.py Worker._leave asyncio.gather": "of ends that have limits of their own",
    "soniq/worker/worker.py Worker._undisturbed asyncio.wait": "a step of the end, which has limits of its own",
    "soniq/worker/worker.py Worker._undisturbed task.result": "of a task that is done",
    "soniq_schedules/plan.py latest while True": "looks four times as far back each time, and ends at `since`",
    "soniq_schedules/ticker.py Ticker.run while True": FOR_LIFE,
    "soniq_schedules/ticker.py Ticker.tick while True": GETS_SMALLER,
    "soniq_schedules/wall.py _once while True": "ends after the gap in the wall's time, a day at most",
    "soniq_limits/looking.py Looking.beside while True": FOR_LIFE,
    "soniq_limits/plugin.py Limits._declare_later while True": FOR_LIFE,
    "soniq_limits/looking.py Looking.beside self.locked.wait": "for work, as long as the worker runs",
    "soniq_limits/looking.py Looking.elected while True": FOR_LIFE,
    "soniq_dashboard/running.py keep_running while True": FOR_LIFE,
    "soniq_dashboard/sampling.py keep_samples while True": FOR_LIFE,
    "soniq_dashboard/sampling.py keep_short while True": FOR_LIFE,
    "soniq_dashboard/web/shared.py Shared.get asyncio.shield": "a reading, whose statements have a limit, as pages have",
    "soniq_dashboard/web/pages/overview.py read asyncio.gather": "readings; a page has ten seconds",
    "soniq_dashboard/web/pages/queues.py _one asyncio.gather": "readings; a page has ten seconds",
    "soniq_dashboard/web/pages/queues.py read asyncio.gather": "readings; a page has ten seconds",
    "soniq_dashboard/web/pages/workers.py read asyncio.gather": "readings; a page has ten seconds",
    "soniq_dashboard/web/extensions.py Extensions._limited task.result": "of a task that is done",
    "soniq_dashboard/writing.py Writer.run while True": FOR_LIFE,
    "soniq_dashboard/writing.py Writer.run asyncio.shield": "a writing, which has `command_timeout`; at the end three seconds",
    "soniq_doctor/alarm.py HorizonAlarm.run while True": FOR_LIFE,
    "soniq_embedded/lock.py FileLock.acquire while True": "ends with its deadline",
    "soniq_otel/gauges.py sample while True": FOR_LIFE,
    "soniq_results/store.py Results.keep_swept while True": FOR_LIFE,
    "soniq_psycopg/limited.py _until while True": "ends with its limit, or with the answer",
    "soniq_psycopg/threads.py in_thread asyncio.shield": "a statement in a thread; the network's limits end it",
    "soniq_psycopg/threads.py in_thread asyncio.wait": "the same: the thread uses the connection",
    "soniq_sqlalchemy/threads.py in_thread asyncio.shield": "a statement in a thread; the network's limits end it",
    "soniq_sqlalchemy/threads.py in_thread asyncio.wait": "the same: the thread uses the session",
    "soniq_testing/leftovers.py Leftovers.found while True": "ends after its patience",
    "soniq_testing/neighbours.py _for_ever asyncio.Event().wait": "a job of the tests that is cancelled",
    "soniq_testing/scenario.py Scenario._define.time_out asyncio.Event().wait": "a job of the tests with a timeout",
    "soniq_testing/jobs.py drain worker.result": "of a task that is done",
    "soniq_testing/database.py database_url_for_tests thread.submit(asyncio.run, plugin.database_url(app)).result": "the start of an embedded server, which has a limit",
}
"""What has no limit where it stands, as file, function and what waits, and why that is right."""


def unbounded(tree: ast.AST, scope: str = "", limited: bool = False) -> Iterator[str]:
    """Each wait and each endless loop below a node that shows no limit."""
    for node in ast.iter_child_nodes(tree):
        within, bounded = scope, limited
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            within, bounded = f"{scope}.{node.name}".lstrip("."), False
        elif isinstance(node, ast.AsyncWith):
            bounded = limited or any(_is_limit(item.context_expr) for item in node.items)
        elif isinstance(node, ast.While) and isinstance(node.test, ast.Constant):
            yield f"{scope} while True"
        elif isinstance(node, ast.Call) and not limited and _waits(node):
            yield f"{scope} {ast.unparse(node.func)}"
        yield from unbounded(node, within, bounded)


def _is_limit(context: ast.expr) -> bool:
    return isinstance(context, ast.Call) and ast.unparse(context.func) in (
        "asyncio.timeout",
        "asyncio.timeout_at",
    )


def _waits(call: ast.Call) -> bool:
    """Whether it may wait. What is given to `wait` and `join` of threads by position is their
    limit.
    """
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in WAITING:
        return False
    own = not (isinstance(call.func.value, ast.Name) and call.func.value.id == "asyncio")
    if own and call.func.attr != "wait_for" and call.args:
        return False
    return not any(keyword.arg == "timeout" for keyword in call.keywords)


def found() -> set[str]:
    return {
        f"{path.relative_to(source)} {each}"
        for source in SOURCES
        for path in source.rglob("*.py")
        for each in unbounded(ast.parse(path.read_text()))
    }


def test_every_wait_and_every_loop_that_tries_again_has_an_end_or_a_reason() -> None:
    assert sorted(found() - REASONS.keys()) == [], (
        "give it a limit, or say in REASONS why it needs none"
    )


def test_no_reason_is_given_for_what_is_not_there_any_more() -> None:
    assert sorted(REASONS.keys() - found()) == []


def test_a_wait_without_a_limit_is_found_and_one_with_a_limit_is_not() -> None:
    source = """
async def bad():
    while True:
        await event.wait()
    await asyncio.wait(tasks)
    thread.join()
    async with asyncio.timeout(1):
        def later():
            future.result()
async def good():
    async with asyncio.timeout(1):
        await asyncio.gather(*tasks)
    await asyncio.wait(tasks, timeout=1)
    thread.join(1)
    future.result(1)
"""
    assert list(unbounded(ast.parse(source))) == [
        "bad while True", "bad event.wait", "bad asyncio.wait", "bad thread.join",
        "bad.later future.result",
    ]  # fmt: skip
