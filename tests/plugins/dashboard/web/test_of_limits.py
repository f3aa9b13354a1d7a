"""What soniq-limits adds to the dashboard."""

from typing import Any

import asyncpg
import pytest

from soniq import Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.web import anyone
from soniq_limits import AllOf, Limit, Limits, Rate
from tests.conftest import MakeApp
from tests.plugins.dashboard.web.conftest import Browse, rows
from tests.plugins.dashboard.web.test_pages import HOSTILE, checked
from tests.support.jobs import working
from tests.support.waiting import eventually


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    """An app with both plugins, and jobs with limits."""
    app = make_app(plugins=[Limits(), Dashboard()])

    @app.job(AllOf(Limit(2, by="customer"), Rate(100, per=60)), name="send")
    async def send(customer: str) -> None: ...

    @app.job(Limit(1, name="the-printer"), name="print")
    async def print_() -> None: ...

    return app


async def given_out(app: Soniq, waiting: int) -> None:
    """Let a worker of another queue give out slots, until so many jobs wait for one."""
    async with working(app, queues=["elsewhere"]):

        async def they_wait() -> bool:
            async with app.connection() as connection:
                table = f"{app.plugin_schema('limits')}.waiting"
                found = await connection.fetchval(
                    f"select count(*) from {table} where at is not null"
                )
            return bool(found == waiting)

        await eventually(they_wait, 30)


async def test_limits_are_listed_with_what_runs_and_waits(app: Soniq, browse: Browse) -> None:
    await app.enqueue_many("send", [{"customer": "acme"} for _ in range(5)])
    await app.enqueue("send", "zeta")
    await given_out(app, 3)
    client = browse(app, anyone())
    assert await rows(client, "/pages/limits") == [
        "rate send rate 100 100 60 s 1 3 0",
        "send/customer limit 2 2 – 2 3 3",
        "the-printer limit 1 1 – 0 0 0",
    ]
    await app.plugin(Limits).set("send/customer", 7)
    assert "send/customer limit 7 2 –" in (await rows(browse(app), "/pages/limits"))[1]


async def test_the_keys_of_a_limit_are_told_to_who_may_see_arguments(
    app: Soniq, browse: Browse
) -> None:
    await app.enqueue_many("send", [{"customer": "acme"} for _ in range(5)])
    await app.enqueue("send", "zeta")
    await given_out(app, 3)
    path = "/pages/limits?limit=send/customer"
    may = browse(app, anyone("see_arguments"))
    assert "/pages/limits?limit=send%2Fcustomer" in checked(
        await may.get("/pages/limits")
    ).attributes("href")
    assert await rows(may, path) == [
        'send/customer["acme"] 2 2 – 3',
        'send/customer["zeta"] 1 2 – 0',
    ]
    assert await rows(may, "/pages/limits?limit=rate send") == ["rate send 3 100 60 s 0"]
    assert "No job of this limit" in checked(await may.get("/pages/limits?limit=none")).text

    may_not = browse(app, anyone("retry"))
    page = checked(await may_not.get(path))
    assert "You may not see the keys of limits" in page.text
    for each in (path, "/pages/limits"):
        assert "acme" not in (await may_not.get(each)).text


async def test_a_job_says_what_it_waits_for(app: Soniq, browse: Browse) -> None:
    ids = await app.enqueue_many("send", [{"customer": "acme"} for _ in range(3)])
    await given_out(app, 1)
    may = browse(app, anyone("see_arguments"))
    assert await rows(may, f"/jobs/{ids[2]}") == [
        "rate send waits 2 100 60 s",
        'send/customer["acme"] waits 2 2 –',
    ]
    assert await rows(may, f"/jobs/{ids[0]}") == [
        "rate send has a slot 2 100 60 s",
        'send/customer["acme"] has a slot 2 2 –',
    ]
    assert "acme" not in (await browse(app, anyone()).get(f"/jobs/{ids[2]}")).text


async def test_many_limits_and_keys_are_on_several_pages_and_counted_to_a_thousand(
    app: Soniq, browse: Browse, connection: "asyncpg.Connection[Any]", schema: str
) -> None:
    await app.start()
    await connection.execute(
        f"""
        insert into {schema}_limits.limits (name, kind, n, declared)
            select 'z' || n, 'limit', 1, 1 from generate_series(100, 199) n;
        insert into {schema}_limits.key (key, name)
            select format('z100[%s]', n), 'z100' from generate_series(10000, 11499) n;
        insert into {schema}_limits.slot (job_id, key, strict)
            select gen_random_uuid(), format('z100[%s]', 10000 + n % 3), false from generate_series(1, 3500) n;
        insert into {schema}_limits.waiting (job_id, keys, at, queue)
            select gen_random_uuid(), '{{z100[10000]}}', 'z100[10000]', 'q' from generate_series(1, 1500) n;
        """
    )
    client, path, seen = browse(app), "/pages/limits", []
    while path:
        seen += [each.split(" limit ")[0] for each in await rows(client, path)]
        page = checked(await client.get(path))
        path = next((each for each in page.attributes("href") if "after=" in each), "")
        assert len(seen) <= 103
    assert seen == sorted(["rate send rate 100 100 60 s 0 0 0", "send/customer", "the-printer",
                           *(f"z{n}" for n in range(100, 200))])  # fmt: skip
    found = await rows(client, "/pages/limits")
    assert "z100 limit 1 1 – 1,000+ 1,000+ 1,000+" in found

    path, keys = "/pages/limits?limit=z100", []
    for _ in range(3):
        keys += await rows(client, path)
        page = checked(await client.get(path))
        (path,) = [each for each in page.attributes("href") if "after=" in each]
    assert keys[0] == "z100[10000] 1,000+ 1 – 1,000+"
    assert [each.split()[0] for each in keys] == [f"z100[{10_000 + n}]" for n in range(150)]


@pytest.mark.parametrize("text", HOSTILE)
async def test_what_is_in_keys_is_text(app: Soniq, browse: Browse, text: str) -> None:
    job_id = await app.enqueue("send", text)
    await app.enqueue_many("send", [{"customer": text} for _ in range(2)])
    await given_out(app, 1)
    client, shown = browse(app), ""
    for path in ("/pages/limits?limit=send/customer", f"/jobs/{job_id}", "/pages/limits"):
        shown += checked(await client.get(path)).text
    checked(await client.get("/pages/limits", params={"limit": text, "after": text}))
    if text.isprintable():
        assert shown.count(text) >= 3
    assert not {"\u202e", "\x1b"} & set(shown)
