"""migrations: a plugin's own tables, in a schema of its own."""

from collections.abc import Callable
from typing import Any

import pytest

from soniq import Soniq
from soniq.errors import PluginError, SchemaMissing
from soniq.plugin import Migration
from tests.core.hooks.support import MakeApp, MakePlugin

FIRST = Migration(
    version=1,
    sql="create table {schema}.note (text text); insert into {schema}.note values ('first')",
)
SECOND = Migration(version=2, sql="alter table {schema}.note add number integer not null default 2")
BROKEN = Migration(
    version=2,
    sql="create table {schema}.other (a integer); select no_such_column from {schema}.note",
)


@pytest.fixture
def app_with(make_app: MakeApp, make_plugin: MakePlugin) -> Callable[..., Soniq]:
    """An app with a plugin named `notes` that has these migrations."""

    def app_with(*steps: Migration, name: str = "notes", **settings: Any) -> Soniq:
        def migrations() -> list[Migration]:
            return list(steps)

        return make_app(plugins=[make_plugin(name, migrations=migrations)], **settings)

    return app_with


AppWith = Callable[..., Soniq]


async def applied(connection: Any, schema: str) -> list[tuple[str, int]]:
    rows = await connection.fetch(
        f"select namespace, version from {schema}.migration where namespace <> 'soniq' order by"
        " 1, 2"
    )
    return [(row["namespace"], row["version"]) for row in rows]


async def test_they_make_tables_in_a_schema_of_the_plugins_own(
    app_with: AppWith, connection: Any, schema: str
) -> None:
    await app_with(FIRST, SECOND).start()
    assert [tuple(row) for row in await connection.fetch(f"select * from {schema}_notes.note")] == [
        ("first", 2)
    ]
    assert await applied(connection, schema) == [("notes", 1), ("notes", 2)]


async def test_each_is_applied_once_and_later_ones_are_added(
    app_with: AppWith, connection: Any, schema: str
) -> None:
    await app_with(FIRST).start()
    await app_with(FIRST).start()
    app = app_with(FIRST, SECOND)
    await app.start()
    await app.close()
    await app.start()
    assert [tuple(row) for row in await connection.fetch(f"select * from {schema}_notes.note")] == [
        ("first", 2)
    ]
    assert await applied(connection, schema) == [("notes", 1), ("notes", 2)]


async def test_they_may_refer_to_the_cores_tables(
    app_with: AppWith, connection: Any, schema: str
) -> None:
    await app_with(
        Migration(version=1, sql="create view {schema}.waiting as select id from {soniq}.job")
    ).start()
    assert await connection.fetchval(f"select count(*) from {schema}_notes.waiting") == 0


async def test_a_plugins_name_need_not_be_an_identifier(
    app_with: AppWith, connection: Any, schema: str
) -> None:
    await app_with(FIRST, name="my-odd Plugin").start()
    assert await connection.fetchval(f'select text from "{schema}_my-odd Plugin".note') == "first"


async def test_an_error_ends_the_set_up_names_the_plugin_and_leaves_nothing_behind(
    app_with: AppWith, connection: Any, schema: str
) -> None:
    with pytest.raises(
        PluginError, match=r"migration 2 of the plugin 'notes' failed.*no_such_column"
    ) as caught:
        await app_with(FIRST, BROKEN, schema=f"{schema}_new").start()
    assert caught.value.plugin == "notes"
    schemas = await connection.fetch(
        "select nspname from pg_namespace where starts_with(nspname, $1)", f"{schema}_new"
    )
    assert schemas == []


async def test_an_error_in_a_later_one_keeps_what_was_there(
    app_with: AppWith, connection: Any, schema: str
) -> None:
    await app_with(FIRST).start()
    with pytest.raises(PluginError):
        await app_with(FIRST, BROKEN).start()
    assert await applied(connection, schema) == [("notes", 1)]
    assert await connection.fetchval("select to_regclass($1)", f"{schema}_notes.other") is None
    await app_with(FIRST, SECOND).start()
    assert await applied(connection, schema) == [("notes", 1), ("notes", 2)]


@pytest.mark.parametrize("versions", [[2], [0, 1], [1, 3], [2, 1], [1, 1]])
async def test_they_are_numbered_from_one_without_a_gap(
    app_with: AppWith, versions: list[int]
) -> None:
    with pytest.raises(PluginError, match="'notes': its migrations must be numbered 1, 2, 3"):
        await app_with(
            *(Migration(version=version, sql="select 1") for version in versions)
        ).start()


async def test_without_setup_a_missing_one_is_an_error(
    app_with: AppWith, make_app: MakeApp
) -> None:
    await make_app().start()
    says = "SONIQ_SETUP is off; the steps that are missing: notes 1, notes 2"
    with pytest.raises(SchemaMissing, match=says):
        await app_with(FIRST, SECOND, setup=False).start()
    await app_with(FIRST).start()
    await app_with(FIRST, setup=False).start()


async def test_an_error_in_the_hook_itself_ends_the_set_up(
    make_app: MakeApp, make_plugin: MakePlugin
) -> None:
    def migrations() -> list[Migration]:
        raise OSError("no file")

    with pytest.raises(PluginError, match="migrations of breaks failed: OSError: no file"):
        await make_app(plugins=[make_plugin("breaks", migrations=migrations)]).start()
