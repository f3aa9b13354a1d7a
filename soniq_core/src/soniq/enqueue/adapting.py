"""What a call gave as `connection=`, after `adapt_connection` was asked for what to make of it."""

from soniq.errors import InvalidOption, PluginError
from soniq.transaction import TransactionConnection


def as_transaction(adapted: object, given: object) -> TransactionConnection:
    """What the hook returned, if statements can be sent through it; `given` is what the caller
    gave. Raises `InvalidOption` or `PluginError`.
    """
    if adapted is None:
        raise InvalidOption(_not_adapted(type(given)), option="connection")
    if not isinstance(adapted, TransactionConnection):
        raise PluginError(
            f"adapt_connection returned {adapted!r:.100}; it returns a TransactionConnection"
            " or None",
            plugin="adapt_connection",
        )
    return adapted


def _not_adapted(kind: type) -> str:
    """Why a connection of this type cannot be used, and what would help."""
    libraries = {each.__module__.partition(".")[0] for each in kind.__mro__}
    if "sqlalchemy" in libraries:
        way = (
            "the plugin soniq-sqlalchemy takes sessions and connections: pip install"
            " soniq-sqlalchemy"
        )
    elif "psycopg" in libraries:
        way = "the plugin soniq-psycopg takes its connections: pip install soniq-psycopg"
    else:
        way = "a plugin's hook adapt_connection can take others"
    return (
        f"connection= takes an asyncpg connection, not {kind.__module__}.{kind.__qualname__}; {way}"
    )
