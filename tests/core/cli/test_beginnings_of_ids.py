"""`soniq inspect` takes the beginning of an id, where it is that of one job."""

import pytest

from soniq import Soniq

from .conftest import Project


async def test_the_beginning_of_an_id_will_do(project: Project, producer: Soniq) -> None:
    job_id = await producer.enqueue("add", a=1, b=2)
    for length in (
        13,
        14,
        23,
        35,
    ):  # two jobs of one minute have the first eight characters in common
        assert project.json("inspect", job_id[:length])["job_id"] == job_id
    assert project.json("inspect", job_id[:20].upper())["job_id"] == job_id


async def test_the_last_id_of_those_that_begin_so_is_found(
    project: Project, producer: Soniq
) -> None:
    ids = await producer.enqueue_many("add", [{"a": 1, "b": 2}] * 200)
    last = next(each for each in ids if each.endswith("f"))
    assert project.json("inspect", last[:-1])["job_id"] == last


async def test_a_beginning_of_several_ids_names_two_of_them(
    project: Project, producer: Soniq
) -> None:
    first, second = await producer.enqueue_many("add", [{"a": 1, "b": 2}, {"a": 3, "b": 4}])
    same = next(
        place for place, (one, other) in enumerate(zip(first, second, strict=True)) if one != other
    )
    done = project.soniq("inspect", first[:same])
    assert done.returncode == 1
    assert (
        done.stderr
        == f"error: more than one job's id begins with {first[:same]}: {second}, {first}, ...\n"
    )


async def test_a_finished_job_is_found_as_well(project: Project, producer: Soniq) -> None:
    job_id = await producer.enqueue("add", a=1, b=2)
    assert await producer.cancel(job_id)
    assert project.json("inspect", job_id[:18])["status"] == "cancelled"


async def test_a_beginning_that_no_job_has_is_told(project: Project, producer: Soniq) -> None:
    done = project.soniq("inspect", "01a20fbd-4909")
    assert (done.returncode, done.stderr) == (3, "error: no job's id begins with 01a20fbd-4909\n")


@pytest.mark.parametrize("word", ["01a20fb", "01a20fbd4909", "01a20fbd-490g", "--------", "mail"])
def test_what_is_no_beginning_of_an_id_is_refused(project: Project, word: str) -> None:
    done = project.soniq("inspect", "--", word)
    assert done.returncode == 2
    assert "a job id is a UUID" in " ".join(done.stderr.split())
