"""The fixtures of the whole suite: the examples run on the same servers as the tests."""

from tests.conftest import _no_settings_from_outside, connection, database_url, schema

__all__ = ["_no_settings_from_outside", "connection", "database_url", "schema"]
