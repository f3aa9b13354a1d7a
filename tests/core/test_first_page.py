"""The code of the first page: every statement of it, on a real PostgreSQL."""

from soniq import Soniq
from soniq.job import JobContext


async def test_the_hooks_run_in_registration_order_around_the_handler(app: Soniq) -> None:
    seen: list[str] = []

    @app.before_job
    async def first(ctx: JobContext) -> None:
        seen.append(f"before {ctx.job_name}")

    @app.before_job
    def second(ctx: JobContext) -> None:
        seen.append("second")

    @app.after_job
    async def after(ctx: JobContext) -> None:
        seen.append("after")

    @app.on_error
    async def failed(ctx: JobContext, error: BaseException) -> None:
        seen.append(repr(error))

    @app.job(queue="default", name="process_order")
    async def process_order(order_id: int, ctx: JobContext) -> None:
        seen.append(f"order {order_id} attempt {ctx.attempt}")

    await app.enqueue(process_order, order_id=7)
    await app.run_worker(run_once=True)
    assert seen == ["before process_order", "second", "order 7 attempt 1", "after"]


async def test_a_result_and_a_status_can_be_read(app: Soniq) -> None:
    @app.job()
    async def add(a: int, b: int) -> int:
        return a + b

    job_id = await app.enqueue(add, a=2, b=3)
    assert job_id.inserted
    assert await app.get_result(job_id) is None
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == 5
    status = await app.get_job_status(job_id)
    assert status is not None
    assert status["status"] == "done"
    assert status["result"] == 5


async def test_a_unique_job_is_enqueued_once(app: Soniq) -> None:
    @app.job(unique=True)
    async def sync_user(user_id: int) -> None: ...

    first = await app.enqueue(sync_user, user_id=42)
    second = await app.enqueue(sync_user, user_id=42)
    assert first == second
    assert not second.inserted
    assert len(await app.jobs()) == 1
