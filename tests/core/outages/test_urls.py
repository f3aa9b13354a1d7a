"""URLs as hosters write them: what the driver does not know is left out, or refused by its name."""

import pytest

from soniq import ConfigurationError
from soniq.settings import describe_url, driver_url, load
from tests.conftest import MakeApp
from tests.support.urls import with_parameter

TAKEN = (
    "connect_timeout=10", "keepalives=1", "keepalives_idle=30", "gssencmode=disable",
    "fallback_application_name=app", "channel_binding=prefer", "tcp_user_timeout=1000", "sslsni=1",
)  # fmt: skip


@pytest.mark.parametrize("parameter", TAKEN)
async def test_a_parameter_of_libpq_that_changes_nothing_here_is_taken(
    parameter: str, make_app: MakeApp, database_url: str
) -> None:
    app = make_app(database_url=with_parameter(database_url, parameter))
    assert await app.jobs() == []


async def test_white_space_around_a_url_is_taken(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url=f"  {database_url}\n")
    assert await app.jobs() == []


@pytest.mark.parametrize(
    ("parameter", "way"),
    [
        ("channel_binding=require", "sslmode=verify-full"),
        ("schema=public", "SONIQ_SCHEMA"),
        ("hostaddr=10.0.0.1", "as the host"),
        ("connection_limit=5", "SONIQ_POOL_SIZE"),
    ],
)
def test_one_that_cannot_be_kept_is_refused_by_name_with_what_to_do(
    parameter: str, way: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"{parameter.split('=')[0]}.*{way}"):
        load({"database_url": f"postgresql://app:secret@db/app?{parameter}"})


def test_pgbouncer_in_a_url_is_the_setting() -> None:
    url = "postgresql://app@db/app?sslmode=require&pgbouncer=true"
    assert load({"database_url": url}).pgbouncer
    assert not load({"database_url": url, "pgbouncer": False}).pgbouncer
    assert driver_url(url) == "postgresql://app@db/app?sslmode=require"
    assert describe_url(f" {url} ") == "db:5432/app"
