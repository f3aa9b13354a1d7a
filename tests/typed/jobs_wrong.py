"""Mistakes, each with what mypy and pyright must say of its line: `test_expected.py` compares. Nothing imports this."""

from collections.abc import AsyncIterator

from soniq import PROVIDED, JobContext, Jobs, Snooze, Soniq, Unique

eq = Soniq(discover=False)
jobs = Jobs()


@eq.job(unique=True)
async def sync_user(user_id: int, full: bool = False) -> int:
    return user_id


@jobs.job()
async def may_wait(name: str) -> str | Snooze:
    return name


@jobs.job
def double(n: int) -> int:
    return 2 * n


@jobs.job()
async def lines() -> AsyncIterator[bytes]:
    yield b""


@jobs.job()
async def needs(n: int, ctx: JobContext) -> None: ...


@jobs.job()
async def charge(order_id: int, ctx: JobContext = PROVIDED) -> None: ...


# --- a wrong argument -----------------------------------------------------------------------------------------------


async def arguments() -> None:
    await sync_user.using(delay=60).enqueue(user_id=42, ful=True)  # mypy: call-arg; pyright: reportCallIssue
    await sync_user.using(delay=60).enqueue(42, delay=60)  # mypy: call-arg; pyright: reportCallIssue
    await sync_user.using().enqueue()  # mypy: call-arg; pyright: reportCallIssue
    await sync_user.enqueue(42, True, 1)  # mypy: call-arg; pyright: reportCallIssue
    await double.enqueue(1, m=1)  # mypy: call-arg; pyright: reportCallIssue
    await needs.enqueue(1)  # mypy: call-arg; pyright: reportCallIssue
    await charge.enqueue()  # mypy: call-arg; pyright: reportCallIssue


# --- an argument of a wrong type ------------------------------------------------------------------------------------


async def types() -> None:
    await sync_user.using(delay=60, dedup_key="k").enqueue(user_id="42")  # mypy: arg-type; pyright: reportArgumentType
    await sync_user.enqueue(None)  # mypy: arg-type; pyright: reportArgumentType
    await double.enqueue("x")  # mypy: arg-type; pyright: reportArgumentType
    await charge.enqueue("x")  # mypy: arg-type; pyright: reportArgumentType


# --- a result of a wrong type ---------------------------------------------------------------------------------------


async def results() -> None:
    number: int = await sync_user.using(delay=60).enqueue(user_id=42)  # mypy: assignment; pyright: reportAssignmentType
    job_id = await sync_user.using(delay=60).enqueue(user_id=42)
    text: str = await sync_user.wait_for(job_id)  # mypy: assignment; pyright: reportAssignmentType
    result: int = await sync_user.get_result(job_id)  # mypy: assignment; pyright: reportAssignmentType
    number = await may_wait.wait_for(job_id)  # mypy: assignment; pyright: reportAssignmentType
    text = await double.using(app=eq).wait_for(job_id)  # mypy: assignment; pyright: reportAssignmentType
    text = await lines.wait_for(job_id)  # mypy: assignment; pyright: reportAssignmentType
    print(number, text, result)


# --- an option ------------------------------------------------------------------------------------------------------

sync_user.using(dely=60)  # mypy: call-arg; pyright: reportCallIssue
sync_user.using(delay="60")  # mypy: arg-type; pyright: reportArgumentType
sync_user.using(retry=5)  # mypy: call-arg; pyright: reportCallIssue
sync_user.using(args={"user_id": 42})  # mypy: call-arg; pyright: reportCallIssue
sync_user.using(app="eq")  # mypy: arg-type; pyright: reportArgumentType
Jobs(quue="mail")  # mypy: call-arg; pyright: reportCallIssue
Jobs(queue=5)  # mypy: arg-type; pyright: reportArgumentType
eq.job(quue="mail")  # mypy: call-overload; pyright: reportCallIssue
eq.job(unique="yes")  # mypy: call-overload; pyright: reportArgumentType
eq.include(eq)  # mypy: arg-type; pyright: reportArgumentType
Unique(scope="ever")  # mypy: arg-type; pyright: reportArgumentType
Unique(by=5)  # mypy: arg-type; pyright: reportArgumentType
