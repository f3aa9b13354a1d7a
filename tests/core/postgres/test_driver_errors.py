"""What an error of the driver's says."""

import asyncpg
import pytest

from soniq.postgres.driver_errors import words

LOST = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
OTHER = asyncpg.UniqueViolationError("duplicate key value violates unique constraint")


@pytest.mark.parametrize(
    ("before", "told"), [(LOST, str(LOST)), (OTHER, "the connection is closed")]
)
def test_what_a_rollback_hides_is_told_where_it_is_why_the_connection_was_lost(
    before: Exception, told: str
) -> None:
    error = asyncpg.InterfaceError("the connection is closed")
    error.__context__ = before
    assert words(error) == told
