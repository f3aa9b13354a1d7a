"""Tests for Soniq: an app on a throw-away schema, `drain`, `travel`, and the checker of plugins.

pytest finds the fixtures by itself (`soniq_testing.fixtures`), in each project where this package
is installed: so nothing is imported here before it is asked for.
PYTEST_DONT_REWRITE: a conftest.py may import from here as well.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contract import CheckFailed, ContractError, check_plugin
    from .database import app_on_test_schema, database_url_for_tests
    from .jobs import Drain, Travel, drain, travel

__all__ = [
    "CheckFailed",
    "ContractError",
    "Drain",
    "Travel",
    "app_on_test_schema",
    "check_plugin",
    "database_url_for_tests",
    "drain",
    "travel",
]

_MODULES = {
    "CheckFailed": "contract",
    "ContractError": "contract",
    "check_plugin": "contract",
    "app_on_test_schema": "database",
    "database_url_for_tests": "database",
    "Drain": "jobs",
    "Travel": "jobs",
    "drain": "jobs",
    "travel": "jobs",
}


if not TYPE_CHECKING:  # which would take any name for one that is there

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
