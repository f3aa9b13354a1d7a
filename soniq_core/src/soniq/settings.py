"""Every setting, in one frozen value: arguments, then `SONIQ_*`, then the defaults here."""

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from msgspec import Meta

from soniq.errors import ConfigurationError
from soniq.secret import Secret
from soniq.text import shown

LONGEST = 100 * 365 * 86_400.0
Seconds = Annotated[float, Meta(gt=0, le=LONGEST)]
Count = Annotated[int, Meta(ge=1, le=10_000)]

HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::([0-9]{0,5}))?")
OPTION = re.compile(r"[A-Za-z_.]+=")
IGNORED = frozenset({
    "channel_binding", "connect_timeout", "fallback_application_name", "gssdelegation",
    "gssencmode", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval",
    "load_balance_hosts", "max_protocol_version", "min_protocol_version", "pgbouncer",
    "sslcertmode", "sslcompression", "sslkeylogfile", "sslsni", "tcp_user_timeout",
})  # fmt: skip
"""Parameters of URLs that the driver does not know, and that change nothing here."""

REFUSED = {
    "hostaddr": "give the address as the host",
    "requirepeer": "leave it out, or use sslmode=verify-full over TCP",
    "require_auth": "leave it out: the server says how to authenticate",
    "replication": "leave it out: Soniq does not replicate",
    "schema": "set SONIQ_SCHEMA",
    "connection_limit": "set SONIQ_POOL_SIZE",
    "pool_timeout": "set SONIQ_CONNECT_TIMEOUT",
}
"""Parameters that would change something, and cannot be kept; and what to do."""

SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,39}")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How an app behaves. `SONIQ_<FIELD>` in the environment sets a field that was not given.

    An argument may be a `timedelta` where seconds are said.
    """

    database_url: str | None = None
    """The PostgreSQL to use: `postgresql://user:password@host/database`, or else a plugin's."""

    schema: str = "soniq"
    """The schema of Soniq's tables: lower-case letters, digits and underscores, at most 40."""

    setup: bool = True
    """Make or update the tables at first use. If False, missing or old ones are an error."""

    pgbouncer: bool = False
    """The URL leads to a PgBouncer in transaction mode.

    There are no prepared statements then, and no LISTEN: workers poll, but for what their own app
    enqueues.
    """

    pool_size: Count = 10
    """The app's pool has at most so many connections, and so has that of `app.connection()`.

    A worker has three more, for claims, notifications and the heartbeat, one for each plugin that
    is told of what it is owed, and one for each running attempt whose handler asks for a
    connection.
    """

    connect_timeout: Seconds = 10.0
    """Seconds to wait for a new connection, and for a free one of the pool."""

    command_timeout: Seconds = 60.0
    """Seconds for one statement of Soniq's own; then it counts as lost and is tried again."""

    unknown_jobs: Literal["error", "allow"] = "error"
    """What an enqueue does with a name that this app does not know."""

    max_payload: Annotated[int, Meta(ge=1, le=250_000_000)] = 1_048_576
    """The most bytes that a job's serialized arguments may take, and its result."""

    max_attempts: Annotated[int, Meta(ge=1, le=32_767)] = 5
    """How often a job is tried before it is dead, where the job does not say."""

    keep: Annotated[float, Meta(ge=0, le=LONGEST)] = 7 * 86_400.0
    """Seconds that a job is kept once it is done or cancelled, where the job does not say."""

    keep_dead: Annotated[float, Meta(ge=0, le=LONGEST)] | None = None
    """Seconds that a dead job is kept, where the job does not say.

    None: until somebody retries or deletes it.
    """

    concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 20
    """How many attempts a worker runs at once."""

    prefetch: Annotated[int, Meta(ge=0, le=10_000)] = 500
    """The most jobs that a worker claims beyond those it runs; far fewer for slow handlers."""

    lease: Annotated[float, Meta(ge=1, le=LONGEST)] = 30.0
    """Seconds that a silent worker keeps its jobs. Then they are given to others."""

    poll_interval: Seconds = 1.0
    """Seconds between two looks for due jobs when no notification comes; with jitter."""

    grace: Annotated[float, Meta(ge=0, le=LONGEST)] = 30.0
    """Seconds that running attempts have when a worker stops; then they run again elsewhere."""

    log_jobs: Literal["info", "debug"] = "info"
    """The level of the line for each job that is done or snoozed."""

    hook_timeout: Seconds = 5.0
    """Seconds that an observer may wait before it is ended; the job goes on."""

    def __repr__(self) -> str:
        fields = ((name, getattr(self, name)) for name in self.__struct_fields__)
        shown = (f"{n}={describe_url(v) if n == 'database_url' and v else v!r}" for n, v in fields)
        return f"Settings({', '.join(shown)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        place = describe_url(self.database_url) if self.database_url else None
        shown: dict[str, Any] = {name: getattr(self, name) for name in self.__struct_fields__}
        return list({**shown, "database_url": place}.items())


def load(arguments: Mapping[str, object], environment: Mapping[str, str] | None = None) -> Settings:
    """The settings: from `arguments`, where None means not given, `environment`, and the defaults.

    Raises `ConfigurationError`, naming the setting and where its value came from; a URL is never
    shown whole.
    """
    values: dict[str, object] = {}
    for name, kind in get_type_hints(Settings, include_extras=True).items():
        variable = f"SONIQ_{name.upper()}"
        if arguments.get(name) is not None:
            value = _in_seconds(_masked(name, arguments[name]))
            values[name] = _checked(name, kind, value, f"{name}=", strict=True)
        # The whole environment is in no variable: the frame of an error would show its secrets
        elif text := (os.environ if environment is None else environment).get(variable, "").strip():
            text = Secret(text)  # files of other systems end their lines with more than "\n"
            if not text.isascii() and not _is_text(text):
                raise ConfigurationError(f"{variable} is not valid UTF-8")
            values[name] = _checked(name, kind, _masked(name, str(text)), variable, strict=False)

    unknown = sorted(set(arguments) - set(Settings.__struct_fields__))
    if unknown:
        raise ConfigurationError(
            f"no setting is named {unknown[0]!r}; there are {', '.join(Settings.__struct_fields__)}"
        )

    if "pgbouncer" not in values and _names_pgbouncer(str(values.get("database_url", ""))):
        values["pgbouncer"] = True
    settings = msgspec.convert(values, Settings)
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    """Raise `ConfigurationError` for a value that its type allows, and that cannot be used."""
    if not SCHEMA_NAME.fullmatch(settings.schema):
        raise ConfigurationError(
            f"schema {settings.schema!r}: lower-case letters, digits and underscores, not a digit"
            " first, at most 40"
        )
    if settings.database_url is not None:
        check_url(settings.database_url)


def _names_pgbouncer(url: str) -> bool:
    return "pgbouncer=true" in url.strip().partition("?")[2].split("&")


def _masked(name: str, value: object) -> object:
    return Secret(value) if name == "database_url" and isinstance(value, str) else value


def _in_seconds(value: object) -> object:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _checked(name: str, kind: object, value: object, source: str, *, strict: bool) -> object:
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        said = "its value" if name == "database_url" else shown(value)
        why = str(error) if strict else str(error).removesuffix(", got `str`")
        if get_origin(kind) is Literal:
            why = f"it is {' or '.join(map(repr, get_args(kind)))}"
        raise ConfigurationError(f"{source} {said} cannot be used: {why}") from None
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"{source} {shown(value)} cannot be used: it is too large"
        ) from None


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def misspelt(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Variables that are no setting but named nearly as one, each with the setting's name."""
    known = [f"SONIQ_{name.upper()}" for name in Settings.__struct_fields__]
    others = [name for name in environment if name.startswith("SONIQ_") and name not in known]
    nearest = ((name, get_close_matches(name, known, 1, 0.9)) for name in sorted(others))
    return [(name, near[0]) for name, near in nearest if near]


def check_url(url: str) -> None:
    """Raise `ConfigurationError` unless `url` is one of PostgreSQL's; without the URL itself."""
    url = Secret(url.strip())
    scheme, separator = url.partition("://")[:2]
    if scheme not in ("postgresql", "postgres") or not separator:
        is_scheme = separator and re.fullmatch(r"[a-z0-9+.-]{1,30}", scheme)
        shown = f"{scheme}://..." if is_scheme else "no such URL"
        raise ConfigurationError(f"the database URL must begin with postgresql://; this is {shown}")

    if not _is_whole(url):
        raise ConfigurationError(
            "the database URL cannot be read: a port that is not a number from 1 to 65535, or one"
            " of the characters / ? # @ in the user name or the password, where they must be"
            " percent-encoded (urllib.parse.quote(password, safe=''))"
        )
    _check_parameters(url)


def driver_url(url: str) -> str:
    """A URL as the driver takes it: without what it does not know, and what changes nothing."""
    address, mark, query = url.strip().partition("?")
    kept = [each for each in query.split("&") if each.partition("=")[0] not in IGNORED]
    return address + (mark if any(kept) else "") + "&".join(kept)


def _check_parameters(url: str) -> None:
    """Raise `ConfigurationError` for a parameter that cannot be kept, by its name."""
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    given = {name: Secret(value) for name, value in pairs}

    for name, way in REFUSED.items():
        if name in given:
            raise ConfigurationError(
                f"the database URL has {name}=, which Soniq's driver does not know; {way}"
            )
    if given.get("channel_binding") == "require":
        raise ConfigurationError(
            "the database URL has channel_binding=require, which Soniq's driver cannot do; leave it"
            " out, and let sslmode=verify-full make sure of the server"
        )


def _is_whole(url: str) -> bool:
    """Whether the host, database and options that a URL shows are no part of the password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False

    hosts = parts.netloc.rpartition("@")[2].split(",")
    ports = [each and int(each[2] or 5432) for each in map(HOST.fullmatch, hosts)]
    return (
        all(port is not None and 0 < port < 65_536 for port in ports)
        and parts.netloc.count("@") <= 1
        and "@" not in parts.path
        and not parts.fragment
        and all(OPTION.match(option) for option in parts.query.split("&") if option)
    )


def describe_url(url: str) -> str:
    """Where a URL leads, without user name and password: `host:port/database`."""
    try:
        hosts, port = _hosts(url)
        path = urlsplit(url.strip()).path
    except ValueError:
        return "(a URL that cannot be read)"
    if "," not in hosts and ":" not in hosts.rpartition("]")[2] and not hosts.startswith("/"):
        hosts += f":{port}"
    return unquote(hosts) + (path or "/")


def server_address(url: str) -> tuple[str, int | None]:
    """The first host of a URL and its port; of a socket, its folder and None. Raises ValueError."""
    hosts, port = _hosts(url)
    first = unquote(hosts.split(",")[0])
    if first.startswith("/"):
        return first, None
    host, colon, own = first.rpartition(":")
    if not colon or "]" in own:
        host, own = first, port
    return host.strip("[]"), int(own or port)


def _hosts(url: str) -> tuple[str, str]:
    """The hosts of a URL as they are written, and the port of those that name none.

    User name and password are left out.
    """
    url = Secret(url.strip())
    if not _is_whole(url):
        raise ValueError("not a whole URL")
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    hosts = parts.netloc.rpartition("@")[2] or query.get("host", "localhost")
    return hosts, query.get("port", "5432")
