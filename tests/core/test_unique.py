"""`unique=Unique(...)`: which arguments make two jobs the same, for how long, and what a duplicate
does.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from soniq import (
    InvalidOption,
    JobContext,
    JobId,
    Jobs,
    SerializationError,
    Soniq,
    Unique,
    hookimpl,
)
from soniq.errors import JobDefinitionError
from soniq.plugin import Dedup, JobDefinition, NewJob
from tests.conftest import MakeApp


async def sync_user(user_id: int, full: bool = False, *, note: Any = None) -> tuple[int, bool]:
    return user_id, full


# --- by which arguments --------------------------------------------------------------------------


async def test_the_arguments_that_are_named_make_the_key(app: Soniq) -> None:
    job = app.job(unique=Unique(by=("user_id",)))(sync_user)
    first = await app.enqueue(job, 42)
    same = [await app.enqueue(job, 42, full=True), await app.enqueue(job, user_id=42, note="x")]
    assert same == [first] * 2
    assert not any(each.inserted for each in same)
    assert (await app.enqueue(job, 43)).inserted


async def test_several_may_be_named_in_any_order_and_as_a_list(app: Soniq) -> None:
    job = app.job(unique=Unique(by=["full", "user_id"]))(sync_user)
    assert (await app.enqueue(job, 1, full=True, note=1)).inserted
    assert not (await app.enqueue(job, full=True, user_id=1, note=2)).inserted
    assert (await app.enqueue(job, 1)).inserted
    assert not (
        await app.enqueue(job, 1, full=True, unique=Unique(by=("user_id", "full")))
    ).inserted


async def test_a_default_counts_as_the_argument(app: Soniq) -> None:
    job = app.job(unique=Unique(by=("full",)))(sync_user)
    assert (await app.enqueue(job, 1)).inserted
    assert not (await app.enqueue(job, 2, full=False)).inserted


async def test_without_names_all_arguments_count_and_it_is_as_true_is(app: Soniq) -> None:
    job = app.job()(sync_user)
    assert (await app.enqueue(job, 1, unique=True)).inserted
    assert not (await app.enqueue(job, 1, unique=Unique())).inserted
    assert not (await app.enqueue(job, 1, unique=Unique(by=("user_id", "full", "note")))).inserted
    assert (await app.enqueue(job, 1, note=2, unique=Unique())).inserted


async def test_by_nothing_there_is_one_job_of_the_name(app: Soniq) -> None:
    job, other = (app.job(name=name, unique=Unique(by=()))(sync_user) for name in ("one", "two"))
    assert (await app.enqueue(job, 1)).inserted
    assert not (await app.enqueue(job, 2, full=True)).inserted
    assert (await app.enqueue(other, 2)).inserted


async def test_arguments_that_are_not_named_need_not_be_json(app: Soniq) -> None:
    job = app.job(name="odd", unique=Unique(by=("user_id",)))(sync_user)
    with pytest.raises(SerializationError, match="the arguments cannot be serialized"):
        await app.enqueue(job, 1, note=object())
    with pytest.raises(SerializationError, match=r"name others in Unique\(by="):
        await app.enqueue(job, 1, note=object(), unique=Unique(by=("note",)))


class Address(msgspec.Struct):
    street: str
    number: int = 1


@pytest.mark.parametrize(
    ("annotation", "one", "other"),
    [
        (datetime, datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (datetime, "2026-01-02T00:00:00Z", "2026-01-02T00:00:00.000000+00:00"),
        (UUID, UUID(int=5), "00000000000000000000000000000005"),
        (float, 1, 1.0),
        (Decimal, Decimal("1.50"), "1.50"),
        (set[str], ["b", "a"], {"a", "b"}),
        (Address, {"street": "x"}, Address("x", 1)),
        (Any, {"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ],
)
async def test_two_ways_to_write_one_value_are_one_argument(
    app: Soniq, annotation: Any, one: object, other: object
) -> None:
    async def work(value: Any) -> None: ...

    work.__annotations__["value"] = annotation
    job = app.job(unique=True)(work)
    assert (await app.enqueue(job, one)).inserted
    assert not (await app.enqueue(job, other)).inserted


async def test_values_that_differ_stay_apart(app: Soniq) -> None:
    @app.job(unique=True)
    async def work(value: Any) -> None: ...

    values: list[object] = [
        1,
        "1",
        True,
        None,
        [1],
        {"a": 1},
        1.5,
        "2026-01-02T00:00:00Z",
        "2026-01-02T00:00:00+00:00",
    ]
    assert all([(await app.enqueue(work, each)).inserted for each in values])


# --- for how long, and what a duplicate does -----------------------------------------------------


async def test_scope_queued_lets_one_wait_while_one_runs(app: Soniq) -> None:
    received: list[tuple[int, str]] = []
    seen: list[JobId] = []

    @app.job(unique=Unique(by=("n",), scope="queued"))
    async def work(n: int, text: str) -> None:
        received.append((n, text))
        if text == "first":
            both = [{"n": n, "text": "second"}, {"n": n, "text": "third"}]
            seen.extend(await app.enqueue_many(work, both))  # before a worker has claimed the one

    first = await app.enqueue(work, 1, "first")
    assert await app.enqueue(work, 1, "dropped") == first
    await app.run_worker(run_once=True)
    assert received == [(1, "first"), (1, "second")]
    assert [each.inserted for each in seen] == [True, False]


async def test_replace_gives_the_one_that_waits_the_new_arguments(app: Soniq) -> None:
    job = app.job(unique=Unique(by=("user_id",), scope="queued", on_conflict="replace"))(sync_user)
    first = await app.enqueue(job, 42)
    second = await app.enqueue(job, 42, full=True)
    assert (second, second.inserted, second.replaced) == (first, False, True)
    await app.run_worker(run_once=True)
    assert await job.get_result(first) == (42, True)


async def test_debounce_pushes_the_one_that_waits_back(app: Soniq) -> None:
    job = app.job(unique=Unique(by=("user_id",), on_conflict="debounce"))(sync_user)
    first = await app.enqueue(job, 42, delay=600)
    second = await app.enqueue(job, 42, full=True, delay=1200)
    assert (second, second.inserted, second.replaced) == (first, False, True)
    status = await app.get_job_status(first)
    assert status is not None
    assert (status["scheduled_at"] - status["created_at"]).total_seconds() >= 1200
    args = await app.get_args(first)
    assert args["full"] is False


async def test_keep_is_the_default_and_changes_nothing(app: Soniq) -> None:
    job = app.job(unique=Unique(by=("user_id",)))(sync_user)
    first = await app.enqueue(job, 42)
    second = await app.enqueue(job, 42, full=True)
    assert (second, second.inserted, second.replaced) == (first, False, False)
    await app.run_worker(run_once=True)
    assert await job.get_result(first) == (42, False)


# --- where it is said ----------------------------------------------------------------------------


async def test_one_enqueue_may_say_it(app: Soniq) -> None:
    job = app.job(unique=True)(sync_user)
    rule = Unique(by=("user_id",), on_conflict="replace")
    first = await job.using(unique=rule).enqueue(42)
    second = await job.using(unique=rule).enqueue(42, full=True)
    assert (second, second.replaced) == (first, True)
    ids = await app.enqueue_many(job, [{"user_id": 42}, {"user_id": 43}], unique=rule)
    assert [each.inserted for each in ids] == [False, True]
    assert (await app.enqueue(job, 42, unique=False)).inserted


async def test_a_key_of_the_call_is_used_as_unique_says(app: Soniq) -> None:
    job = app.job(unique=Unique(by=("user_id",), on_conflict="replace"))(sync_user)
    first = await app.enqueue(job, 1, dedup_key="k")
    second = await app.enqueue(job, 2, dedup_key="k")
    assert (second, second.replaced) == (first, True)
    third = await app.enqueue(job, 3, dedup_key="k", unique=True)
    assert (third, third.inserted, third.replaced) == (first, False, False)
    await app.run_worker(run_once=True)
    assert await job.get_result(first) == (2, False)


async def test_the_jobs_of_a_jobs_may_have_it(app: Soniq) -> None:
    jobs = Jobs(unique=Unique(by=()))
    job, free = jobs.job(name="one")(sync_user), jobs.job(name="free", unique=False)(sync_user)
    app.include(jobs)
    assert [(await app.enqueue(job, n)).inserted for n in (1, 2)] == [True, False]
    assert [(await app.enqueue(free, n)).inserted for n in (1, 2)] == [True, True]


async def test_a_job_that_another_service_defines_may_be_unique_by_its_arguments(
    make_app: MakeApp,
) -> None:
    app = make_app(unknown_jobs="allow")
    rule = Unique(by=("n",))
    assert (await app.enqueue("elsewhere", n=1, m=1, unique=rule)).inserted
    assert not (await app.enqueue("elsewhere", n=1, m=2, unique=rule)).inserted
    with pytest.raises(InvalidOption, match=r"names 'n', which is no parameter"):
        await app.enqueue("elsewhere", m=1, unique=rule)


async def test_hooks_see_what_a_job_says_and_may_answer_first(make_app: MakeApp) -> None:
    seen: list[object] = []

    class Keys:
        name = "keys"

        @hookimpl
        def dedup_key(self, job: NewJob) -> Dedup | None:
            seen.extend([job.unique, job.types["user_id"]])
            return Dedup("mine") if job.args["full"] else None

    app = make_app(plugins=[Keys()])
    rule = Unique(by=("user_id",))
    job = app.job(unique=rule)(sync_user)
    ids = [
        await app.enqueue(job, 1, full=True),
        await app.enqueue(job, 2, full=True),
        await app.enqueue(job, 1),
    ]
    assert [each.inserted for each in ids] == [True, False, True]
    assert seen == [rule, int] * 3


# --- what cannot be ------------------------------------------------------------------------------


def test_a_name_that_is_no_parameter_is_refused_at_the_definition(app: Soniq) -> None:
    with pytest.raises(
        JobDefinitionError, match=r"names 'user', which is no parameter.*did you mean 'user_id'"
    ) as caught:
        app.job(name="sync", unique=Unique(by=("full", "user")))(sync_user)
    assert caught.value.job == "sync"
    with pytest.raises(JobDefinitionError, match="there are user_id, full, note"):
        app.job(unique=Unique(by=("zzz",)))(sync_user)
    assert not app.registry


async def test_a_parameter_that_is_provided_is_refused_at_the_start(app: Soniq) -> None:
    @app.job(name="work", unique=Unique(by=("ctx",)))
    async def work(n: int, ctx: JobContext) -> None: ...

    with pytest.raises(
        JobDefinitionError, match=r"work: .*names 'ctx', which is no parameter that is passed to it"
    ):
        await app.start()


async def test_what_configure_job_sets_is_checked_too(make_app: MakeApp) -> None:
    class Wrong:
        name = "wrong"

        @hookimpl
        def configure_job(self, job: JobDefinition) -> None:
            job.unique = Unique(by=("nobody",))

    app = make_app(plugins=[Wrong()])
    app.job()(sync_user)
    with pytest.raises(JobDefinitionError, match="nobody"):
        await app.start()


async def test_a_wrong_name_of_one_enqueue_is_refused_and_nothing_is_enqueued(app: Soniq) -> None:
    job = app.job()(sync_user)
    with pytest.raises(InvalidOption, match=r"names 'user', .*did you mean 'user_id'") as caught:
        await app.enqueue(job, 1, unique=Unique(by=("user",)))
    assert caught.value.option == "unique"
    assert await app.jobs() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"by": "user_id"},
        {"by": (1,)},
        {"by": 5},
        {"by": iter(["user_id"])},  # which would be empty when it is read again
        {"scope": "ever"},
        {"on_conflict": "drop"},
        {"scope": None},
    ],
)
def test_a_unique_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    make: Callable[..., object] = Unique
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make(**wrong)
