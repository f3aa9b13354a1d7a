"""The app's URL and limits as psycopg takes them."""

import math
import re
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from psycopg.pq import Conninfo

from soniq import Soniq


def conninfo(url: str) -> str:
    """A URL that asyncpg takes, as psycopg takes it.

    A name that libpq does not know is a setting of the server's.
    """
    address, _, given = url.partition("?")
    query = dict(parse_qsl(given, keep_blank_values=True))
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    settings = [f"-c {name}={_escaped(query.pop(name))}" for name in [*query] if name not in known]
    if settings:
        query["options"] = " ".join([*filter(None, [query.get("options")]), *settings])
    return f"{address}?{urlencode(query, quote_via=quote)}"


def options(app: Soniq) -> dict[str, Any]:
    """What a connection of this app's is made with, beside its URL.

    A network that acknowledges nothing for `command_timeout` ends the connection, while it sends
    and while it waits. psycopg has no limit for a peer that acknowledges and does not answer: those
    of this plugin's own connections have one beside, any other has not.
    """
    limit = math.ceil(app.settings.command_timeout)
    return {
        "connect_timeout": math.ceil(app.settings.connect_timeout),
        "tcp_user_timeout": limit * 1000,
        "keepalives": 1,
        "keepalives_idle": limit,
        "keepalives_interval": math.ceil(limit / 3),
        "keepalives_count": 3,
        "application_name": "soniq",
        "prepare_threshold": None if app.settings.pgbouncer else 5,
    }


def _escaped(value: str) -> str:
    return re.sub(r"([\\ ])", r"\\\1", value)
