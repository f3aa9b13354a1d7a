"""A schema that is handed on is as a first start makes it, whatever the test before left in it."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from soniq_limits import Limits
from tests.support.schemas import Schemas


@pytest.fixture
def schemas(database_url: str) -> Iterator[Schemas]:
    schemas = Schemas(database_url)
    yield schemas
    schemas.close()


@pytest.fixture
def run(database_url: str) -> Iterator[Callable[[str], object]]:
    """Runs a statement; the first value of its first row."""
    with psycopg.connect(database_url, autocommit=True) as connection:

        def run(statement: str) -> object:
            done = connection.execute(statement.encode())
            row = done.fetchone() if done.description else None
            return row and row[0]

        yield run


def test_what_was_left_is_gone(schemas: Schemas, run: Callable[[str], object]) -> None:
    name = schemas.take((Limits,))
    run(f"select {name}.enqueue('mail', '{{}}')")
    run(f"insert into {name}.migration values ('more', 1, 1)")
    run(f"insert into {name}_limits.again (key) values ('a')")
    run(f"create schema {name}_more")
    schemas.give_back(name)

    assert schemas.take((Limits,)) == name
    for table in (f"{name}.job", f"{name}_limits.again"):
        assert run(f"select count(*) from {table}") == 0
    assert run(f"select count(*) from {name}.migration where namespace = 'more'") == 0
    assert run(f"select count(*) from pg_namespace where nspname = '{name}_more'") == 0
    assert run(f"select is_called from {name}_limits.again_id_seq") is False


@pytest.mark.parametrize(
    "statement",
    [
        "drop table {name}_limits.again",
        "drop schema {name}_limits cascade",
        "alter table {name}.job add column more text",
        "update {name}.retention set bound = bound + interval '1 day'",
        "delete from {name}.migration where namespace = 'limits'",
        "grant select on {name}.job to public",
    ],
)
def test_what_cannot_be_undone_is_dropped(
    schemas: Schemas, run: Callable[[str], object], statement: str
) -> None:
    name = schemas.take((Limits,))
    run(statement.format(name=name))
    schemas.give_back(name)
    assert schemas.take((Limits,)) != name
    assert run(f"select count(*) from pg_namespace where starts_with(nspname, '{name}')") == 0


def test_each_has_the_tables_that_were_asked_for(
    schemas: Schemas, run: Callable[[str], object]
) -> None:
    plain, limited = schemas.take(), schemas.take((Limits,))
    of = "select count(*) from pg_namespace where nspname = '{}_limits'"
    assert [run(of.format(each)) for each in (plain, limited)] == [0, 1]
    schemas.give_back(plain)
    schemas.give_back(limited)
    assert (schemas.take((Limits,)), schemas.take()) == (limited, plain)
