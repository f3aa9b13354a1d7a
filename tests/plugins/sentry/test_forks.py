"""A process that is forked, as web servers do that load the application first, sends its own
events.
"""

from pathlib import Path

import pytest

from tests.support.forking import CHILDREN, run_forking

from .test_leaving import sentry

PROGRAM = """
import logging, os
import sentry_sdk
from soniq import Soniq
from soniq_sentry import SentryPlugin

sentry_sdk.init(dsn=os.environ["DSN"], auto_enabling_integrations=False)
eq = Soniq(plugins=[SentryPlugin()], discover=False)

@eq.job(name="mail", max_attempts=1)
def mail(number: int) -> None:
    raise ValueError(f"failure {number}")

logging.getLogger("soniq.worker").addHandler(logging.NullHandler())
eq.sync.enqueue("mail", 99)
eq.sync.run_worker(run_once=True)  # the SDK's thread is running now

def in_child(number):
    eq.sync.enqueue("mail", number, queue=f"of {number}")
    eq.sync.run_worker(run_once=True, queues=[f"of {number}"])
"""


@pytest.mark.usefixtures("app")
async def test_errors_of_forked_children_arrive(
    tmp_path: Path, database_url: str, schema: str
) -> None:
    with sentry(0.0) as (bodies, dsn):
        run_forking(
            tmp_path,
            PROGRAM,
            DSN=dsn,
            SONIQ_DATABASE_URL=database_url,
            SONIQ_SCHEMA=schema,
        )
    for number in (99, *range(1, CHILDREN + 1)):
        assert any(f"failure {number}".encode() in body for body in bodies), number
