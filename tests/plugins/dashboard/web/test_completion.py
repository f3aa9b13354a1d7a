"""What the search box offers."""

from soniq import Soniq
from soniq_dashboard.web import anyone
from soniq_dashboard.web.query import NotUnderstood, parsed
from tests.plugins.dashboard.web.conftest import Browse
from tests.support.jobs import working
from tests.support.waiting import eventually


async def test_it_offers_what_workers_know_and_what_waits(app: Soniq, browse: Browse) -> None:
    @app.job(name="mail.send", queue="mail")
    async def send() -> None: ...

    await app.start()
    await app.enqueue("unheard of", queue="a queue", delay=60)
    client = browse(app)
    async with working(app):

        async def alive() -> bool:
            return bool((await app.overview())["workers"])

        await eventually(alive)
        words = (await client.get("/words")).json()
    assert {"status:", "status:dead", "order:due", "finished:", "name:mail.send"} <= {*words}
    assert {'name:"unheard of"', 'queue:"a queue"'} <= {*words}
    for word in words:
        if not word.endswith(":"):
            parsed(word).search()
    keys = {word for word in words if word.endswith(":")}
    assert {each for each in keys if not _is_known(each)} == set()


def _is_known(key: str) -> bool:
    try:
        parsed(f"{key}1")
    except NotUnderstood as error:
        return "there is no" not in str(error)
    return True


async def test_who_may_only_look_is_not_offered_what_they_may_not_search(
    app: Soniq, browse: Browse
) -> None:
    words = (await browse(app, anyone()).get("/words")).json()
    assert "name:" in words
    assert "args:" not in words
