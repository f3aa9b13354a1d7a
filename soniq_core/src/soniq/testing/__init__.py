"""For tests: an app on a throw-away schema, `drain`, `travel`, and the checker of plugins. Needs pytest.

`pytest_plugins = ["soniq.testing"]` in a conftest.py brings the fixtures. PYTEST_DONT_REWRITE: that conftest.py may
import from here as well.
"""

from soniq.testing.contract import ContractError, check_plugin
from soniq.testing.database import app_on_test_schema, database_url_for_tests
from soniq.testing.fixtures import (
    Drain,
    Travel,
    drain_of_app,
    soniq_app,
    soniq_app_of_anyio,
    soniq_app_of_asyncio,
    soniq_database_url,
    soniq_under_test,
    travel_of_app,
)
from soniq.testing.jobs import drain, travel

__all__ = [
    "ContractError",
    "Drain",
    "Travel",
    "app_on_test_schema",
    "check_plugin",
    "database_url_for_tests",
    "drain",
    "drain_of_app",
    "soniq_app",
    "soniq_app_of_anyio",
    "soniq_app_of_asyncio",
    "soniq_database_url",
    "soniq_under_test",
    "travel",
    "travel_of_app",
]
