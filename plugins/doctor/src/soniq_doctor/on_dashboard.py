"""What the dashboard shows of what keeps PostgreSQL from cleaning up, where there is one. Nothing
else imports this file, as it needs soniq-dashboard.
"""

from collections.abc import Sequence
from datetime import timedelta

from soniq import Soniq
from soniq_dashboard import Alert, Cell, Panel, Table

from .horizon import HorizonHolder, old_transactions

SHOWN = 60.0
"""Seconds after which a transaction is shown."""
MOST = 20
COLUMNS = ("What", "User", "Application", "State", "For", "Transactions since")
NONE = "Nothing has kept PostgreSQL from cleaning up for longer than a minute."


async def panels(app: Soniq) -> Sequence[Panel]:
    """What keeps PostgreSQL from cleaning up, the oldest first."""
    found = await old_transactions(app, SHOWN)
    rows = [_row(each) for each in found[:MOST]]
    return [Panel("What holds back cleaning up", [Table(COLUMNS, rows, empty=NONE)])]


async def alerts(app: Soniq, limit: float) -> Sequence[Alert]:
    """The oldest of what has done so for longer than `limit` seconds."""
    found = await old_transactions(app, limit)
    if not found:
        return ()
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    text = f"Vacuum is held back, and claims get slower: {_what(found[0])}{more}"
    return [Alert(text, "/system")]


def _row(holder: HorizonHolder) -> Sequence[Cell]:
    seconds = holder["seconds"]
    return (
        _what(holder),
        holder["user"],
        holder["application"],
        holder["state"],
        None if seconds is None else timedelta(seconds=seconds),
        holder["transactions"],
    )


def _what(holder: HorizonHolder) -> str:
    name = f"pid {holder['name']}" if holder["kind"] == "transaction" else holder["name"]
    return f"{holder['kind']} {name}"
