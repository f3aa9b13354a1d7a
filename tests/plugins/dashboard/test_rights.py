"""A worker whose role owns nothing, with the rights that the documentation grants it."""

import re
import uuid

import asyncpg

from soniq import Search, Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.audit import lines
from soniq_dashboard.operations import begin, frozen, operations, time_of
from soniq_dashboard.running import run_batch
from soniq_dashboard.sampling import forget, sample
from soniq_dashboard.settings import KEEP
from tests.core.postgres.support import documented_rights, own_database
from tests.docs.pages import DOCS, blocks
from tests.support import urls
from tests.support.jobs import run_job

from .conftest import LONG_AGO


async def test_a_worker_counts_samples_and_forgets_with_the_rights_of_the_page(
    database_url: str,
) -> None:
    async with own_database(database_url) as own:
        async with Soniq(own, discover=False, plugins=[Dashboard]):
            pass
        role = f"test_{uuid.uuid4().hex[:12]}"
        (of_plugin,) = blocks(DOCS / "how-to" / "over-time.md", "sql")
        owner = await asyncpg.connect(own)
        try:
            await owner.execute(f"create role {role} login password 'test'")
            await owner.execute(documented_rights("soniq_worker", role))
            await owner.execute(re.sub(r"\bsoniq_worker\b", role, of_plugin.text))
            await works(urls.as_role(own, role, "test"))
        finally:
            await owner.execute(f"drop owned by {role}; drop role {role}")
            await owner.close()


async def works(url: str) -> None:
    async with Soniq(url, discover=False, setup=False, plugins=[Dashboard]) as app:

        @app.job(name="one")
        async def one() -> None: ...

        await run_job(app, one)
        await sample(app)
        await forget(app, {tier: each.default for tier, each in KEEP.items()})
        dashboard = app.plugin(Dashboard)
        assert [point.done for point in await dashboard.series(LONG_AGO)] == [1]
        assert await dashboard.gauges(LONG_AGO)

        await app.enqueue("one", delay=60)
        at = await time_of(app)
        search = frozen("cancel", Search(names=["one"]), at)
        made = await begin(
            app, "cancel", search, at, secret=False, by="eva", reason=None, found=1, exact=True
        )
        assert await run_batch(app)
        (operation,) = await operations(app, only=made)
        assert (operation.state, operation.changed) == ("done", 1)
        await app.pause("mail", by="eva")
        assert [each.action for each in await lines(app)] == ["pause", "cancel"]
