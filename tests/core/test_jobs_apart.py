"""Jobs that are defined apart from the app: `Jobs`, and the apps that include them."""

from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from soniq import (
    PROVIDED,
    InvalidArguments,
    InvalidOption,
    JobContext,
    Jobs,
    Soniq,
    SoniqError,
    UnknownJob,
)
from soniq.errors import JobDefinitionError
from soniq.job.options import EnqueueKeywords, EnqueueOptions, JobKeywords, JobOptions
from tests.conftest import MakeApp


async def double(n: int) -> int:
    return 2 * n


async def triple(n: int) -> int:
    return 3 * n


@pytest.fixture
def jobs() -> Jobs:
    """Jobs that no app includes yet."""
    return Jobs()


async def test_a_job_of_an_included_jobs_is_enqueued_and_run(app: Soniq, jobs: Jobs) -> None:
    job = jobs.job(name="double", queue="math", max_attempts=2)(double)
    app.include(jobs)
    ids = [await app.enqueue(job, 4), await app.enqueue("double", n=5)]
    status = await app.get_job_status(ids[0])
    assert status is not None
    assert (status["queue"], status["max_attempts"]) == ("math", 2)
    await app.run_worker(run_once=True)
    assert [await app.get_result(each) for each in ids] == [8, 10]


async def test_it_stays_the_function_it_is_and_is_named_like_any_other(jobs: Jobs) -> None:
    @jobs.job
    async def shout(text: str) -> str:
        """Say it aloud."""
        return text.upper()

    assert await shout("a") == "A"
    assert shout.__doc__ == "Say it aloud."
    assert shout.name == f"{__name__}.{shout.function.__qualname__}"


async def test_two_apps_may_include_the_same_jobs(
    make_app: MakeApp, database_url: str, schema: str
) -> None:
    jobs = Jobs()
    job = jobs.job(name="double")(double)
    one, two = make_app(), make_app(schema=f"{schema}_two", max_attempts=9)
    for app in (one, two):
        app.include(jobs)
    ids = [await one.enqueue(job, 1), await two.enqueue(job, 2)]
    for app, job_id, result, attempts in ((one, ids[0], 2, 5), (two, ids[1], 4, 9)):
        await app.run_worker(run_once=True)
        status = await app.get_job_status(job_id)
        assert status is not None
        assert (status["result"], status["max_attempts"]) == (result, attempts)
    assert await one.get_job_status(ids[1]) is None


async def test_an_app_that_does_not_include_them_knows_them_not_and_says_how_to(
    app: Soniq, jobs: Jobs
) -> None:
    job = jobs.job(name="double")(double)
    with pytest.raises(UnknownJob, match=r"no job named 'double'.*app\.include\(jobs\)") as caught:
        await app.enqueue(job, 1)
    assert caught.value.name == "double"
    with pytest.raises(UnknownJob, match="include"):
        await app.enqueue_many(job, [{"n": 1}])
    with pytest.raises(UnknownJob, match="unknown_jobs"):
        await app.enqueue("double", n=1)


async def test_including_them_twice_changes_nothing(app: Soniq, jobs: Jobs) -> None:
    job = jobs.job(name="double")(double)
    app.include(jobs)
    app.include(jobs)
    assert app.registry == {"double": job}
    jobs.job(name="triple")(triple)
    assert list(app.registry) == ["double", "triple"]


async def test_jobs_may_be_included_and_defined_once_the_app_is_in_use(
    app: Soniq, jobs: Jobs
) -> None:
    await app.start()
    first = jobs.job(name="double")(double)
    app.include(jobs)
    ids = [await app.enqueue(first, 1)]
    second = jobs.job(name="triple")(triple)
    ids.append(await app.enqueue(second, 1))
    await app.run_worker(run_once=True)
    assert [await app.get_result(each) for each in ids] == [2, 3]


async def test_a_name_that_the_app_has_is_refused_and_none_of_them_is_added(
    app: Soniq, jobs: Jobs
) -> None:
    app.job(name="triple")(triple)
    jobs.job(name="double")(double)
    jobs.job(name="triple")(double)
    with pytest.raises(
        JobDefinitionError, match=r"two jobs are named 'triple': .*test_jobs_apart.py:\d+ and "
    ):
        app.include(jobs)
    assert list(app.registry) == ["triple"]


async def test_a_name_that_comes_later_is_refused_by_all_if_one_has_it(
    make_app: MakeApp, jobs: Jobs
) -> None:
    one, two = make_app(), make_app()
    for app in (one, two):
        app.include(jobs)
    two.job(name="double")(triple)
    with pytest.raises(JobDefinitionError, match="two jobs are named 'double'"):
        jobs.job(name="double")(double)
    assert list(one.registry) == []
    three = make_app()
    three.include(jobs)
    assert list(three.registry) == []


def test_two_of_one_name_in_one_jobs_are_refused(jobs: Jobs) -> None:
    jobs.job(name="double")(double)
    with pytest.raises(JobDefinitionError, match="two jobs are named 'double'"):
        jobs.job(name="double")(triple)


async def test_nothing_is_added_while_a_worker_of_the_app_runs(app: Soniq, jobs: Jobs) -> None:
    refused: list[str] = []
    others = Jobs()
    others.job(name="triple")(triple)

    @jobs.job(name="try")
    async def attempt() -> None:
        for add in (lambda: app.include(others), lambda: jobs.job(name="double")(double)):
            try:
                add()
            except SoniqError as error:
                refused.append(str(error))

    app.include(jobs)
    await app.enqueue(attempt)
    await app.run_worker(run_once=True)
    assert refused == ["a job cannot be added while a worker of this app runs"] * 2
    assert list(app.registry) == ["try"]
    jobs.job(name="double")(double)
    app.include(others)
    assert list(app.registry) == ["try", "double", "triple"]


async def test_annotations_of_a_function_in_a_function_are_found(app: Soniq, jobs: Jobs) -> None:
    class Local(dict[str, int]): ...

    @jobs.job()
    async def read(value: "Local | None", ctx: "JobContext") -> str:
        return f"{value} {ctx.attempt}"

    app.include(jobs)
    job_id = await app.enqueue(read, None)
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == "None 1"


async def test_what_a_jobs_says_holds_for_its_jobs_that_do_not_say_otherwise(app: Soniq) -> None:
    jobs = Jobs(queue="mail", max_attempts=3)
    plain = jobs.job(name="plain")(double)
    own = jobs.job(name="own", queue="bulk")(double)
    bare = jobs.job(triple)
    app.include(jobs)
    seen = []
    for job in (plain, own, bare):
        status = await app.get_job_status(await app.enqueue(job, 1))
        assert status is not None
        seen.append((status["queue"], status["max_attempts"]))
    assert seen == [("mail", 3), ("bulk", 3), ("mail", 3)]


def test_what_a_jobs_cannot_say_is_refused_at_once() -> None:
    make: Callable[..., object] = Jobs
    with pytest.raises(InvalidOption, match="quue="):
        make(quue="mail")
    with pytest.raises(InvalidOption, match="max_attempts="):
        make(max_attempts=0)


def test_include_takes_a_jobs(app: Soniq) -> None:
    include: Callable[..., None] = app.include
    with pytest.raises(SoniqError, match="include takes a Jobs"):
        include(double)


def test_the_keywords_of_the_decorator_are_the_options_of_a_job() -> None:
    assert list(JobKeywords.__annotations__) == list(JobOptions.__struct_fields__)


# --- calls of the job itself ---------------------------------------------------------------------


async def test_a_job_in_one_app_is_enqueued_there(app: Soniq, jobs: Jobs) -> None:
    job, own = jobs.job(name="double")(double), app.job(name="triple")(triple)
    app.include(jobs)
    ids = [await job.enqueue(1), await own.enqueue(n=1)]
    await app.run_worker(run_once=True)
    assert [await job.get_result(ids[0]), await own.wait_for(ids[1], timeout=10)] == [2, 3]


async def test_a_job_in_no_app_says_how_to_include_it(jobs: Jobs) -> None:
    job = jobs.job(name="double")(double)
    with pytest.raises(UnknownJob, match=r"app\.include\(jobs\)"):
        await job.enqueue(1)
    with pytest.raises(UnknownJob, match="include"):
        await job.get_result("00000000-0000-7000-8000-000000000000")


async def test_a_job_in_two_apps_asks_which(make_app: MakeApp, jobs: Jobs, schema: str) -> None:
    job = jobs.job(name="double")(double)
    one, two = make_app(), make_app(schema=f"{schema}_two")
    for app in (one, two):
        app.include(jobs)
    with pytest.raises(
        InvalidOption, match=r"2 apps have the job double; say which: using\(app=\.\.\.\)"
    ) as caught:
        await job.enqueue(1)
    assert caught.value.option == "app"
    job_id = await job.using(app=two).enqueue(1)
    assert await one.get_job_status(job_id) is None
    await two.run_worker(run_once=True)
    assert await job.using(app=two).get_result(job_id) == 2
    for app in (one, two):
        await app.close()
    with pytest.raises(InvalidOption, match="say which"):
        await job.enqueue(1)


async def test_apps_that_were_closed_do_not_count(make_app: MakeApp, jobs: Jobs) -> None:
    job = jobs.job(name="double")(double)
    for _ in range(3):  # as the tests of an application make one after the other
        app = make_app()
        app.include(jobs)
        job_id = await job.enqueue(1)
        assert await app.get_args(job_id) == {"n": 1}
        await app.close()


async def test_a_closed_app_is_still_the_one_if_it_is_the_only_one(app: Soniq) -> None:
    job = app.job(name="double")(double)
    await job.enqueue(1)
    await app.close()
    assert (await job.enqueue(2)).inserted
    assert len(await app.jobs()) == 2


async def test_an_app_that_does_not_have_the_job_cannot_be_chosen(
    make_app: MakeApp, jobs: Jobs
) -> None:
    one, two = make_app(), make_app()
    job = one.job(name="double")(double)
    with pytest.raises(UnknownJob, match="include"):
        await job.using(app=two).enqueue(1)


async def test_options_stand_apart_from_the_arguments(app: Soniq) -> None:
    @app.job(name="route")
    async def route(queue: str, priority: int = 7) -> str:
        return f"{queue} {priority}"

    kept = route.using(queue="slow", priority=-3, tags=["t"])
    ids = [await kept.enqueue("mail"), await kept.enqueue(queue="post", priority=1)]
    for job_id in ids:
        status = await app.get_job_status(job_id)
        assert status is not None
        assert (status["queue"], status["priority"], status["tags"]) == ("slow", -3, ["t"])
    await app.run_worker(run_once=True)
    assert [await route.get_result(each) for each in ids] == ["mail 7", "post 1"]


async def test_a_parameter_that_is_provided_may_say_so_and_is_not_passed(app: Soniq) -> None:
    @app.job(name="charge")
    async def charge(
        order_id: int, ctx: JobContext = PROVIDED, connection: asyncpg.Connection = PROVIDED
    ) -> str:
        return f"{order_id} {ctx.job_name} {await connection.fetchval('select 1')}"

    job_id = await charge.enqueue(7)
    assert await app.get_args(job_id) == {"order_id": 7}
    await app.run_worker(run_once=True)
    assert await charge.get_result(job_id) == "7 charge 1"


async def test_a_parameter_that_nothing_provides_is_refused_at_the_start(app: Soniq) -> None:
    @app.job(name="charge")
    async def charge(order_id: int, tool: bytes = PROVIDED) -> None: ...

    with pytest.raises(
        JobDefinitionError,
        match=r"charge: nothing provides the parameter 'tool', declared as .*bytes",
    ):
        await app.start()


async def test_a_mistake_in_the_call_is_told_as_ever(app: Soniq) -> None:
    job = app.job(name="double")(double)
    using: Callable[..., object] = job.using
    with pytest.raises(InvalidOption, match=r"using\(\) has no option dely=; did you mean delay="):
        using(dely=5)
    with pytest.raises(InvalidOption, match="args="):
        using(args={"n": 1})
    with pytest.raises(InvalidOption, match="delay="):
        await job.using(delay=-1).enqueue(1)
    enqueue: Callable[..., Awaitable[object]] = job.enqueue
    for arguments in ({}, {"m": 1}, {"n": "one"}, {"n": 1, "delay": 5}):
        with pytest.raises(InvalidArguments, match="double"):
            await enqueue(**arguments)
    assert await app.jobs() == []


def test_the_keywords_of_using_are_the_options_of_an_enqueue() -> None:
    assert set(EnqueueKeywords.__annotations__) == set(EnqueueOptions.__struct_fields__) - {"args"}
