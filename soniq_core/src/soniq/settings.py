"""Every setting, in one frozen value: arguments first, then `SONIQ_*` in the environment, then the defaults here."""

import os
import re
from collections.abc import Mapping
from typing import Annotated, get_type_hints
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from msgspec import Meta

from soniq.errors import ConfigurationError

LONGEST = 100 * 365 * 86_400.0
Seconds = Annotated[float, Meta(gt=0, le=LONGEST)]
Count = Annotated[int, Meta(ge=1)]

HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(:[0-9]*)?")
OPTION = re.compile(r"[A-Za-z_.]+=")
SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,39}")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How an app behaves. `SONIQ_<FIELD>` in the environment sets a field that was not given as an argument."""

    database_url: str | None = None
    """The PostgreSQL to use, as `postgresql://user:password@host/database`. Without one a plugin may provide it."""

    schema: str = "soniq"
    """The PostgreSQL schema that holds Soniq's tables: lower-case letters, digits and underscores, at most 40."""

    setup: bool = True
    """Make or update the tables at first use. False: never, and it is an error if they are missing or too old."""

    pgbouncer: bool = False
    """The URL leads to a PgBouncer in transaction mode: no prepared statements, no LISTEN (workers poll)."""

    pool_size: Count = 10
    """The most connections of the app's pool. A worker has three more: claims, notifications, heartbeat."""

    connect_timeout: Seconds = 10.0
    """Seconds to wait for a new connection, and for a free one of the pool."""

    command_timeout: Seconds = 60.0
    """Seconds that one statement of Soniq's own may take before it counts as lost and is tried again."""

    unknown_jobs: str = "error"
    """What enqueueing a name does that this app does not know: "error", or "allow" (its jobs live elsewhere)."""

    max_payload: Annotated[int, Meta(ge=1, le=250_000_000)] = 1_048_576
    """The most bytes that a job's serialized arguments may take, and its result."""

    max_attempts: Annotated[int, Meta(ge=1, le=32_767)] = 5
    """How often a job is tried before it is dead, where the job does not say."""

    keep: Annotated[float, Meta(ge=0, le=LONGEST)] = 7 * 86_400.0
    """Seconds that a finished job can still be looked up, where the job does not say."""

    concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 20
    """How many attempts a worker runs at once."""

    prefetch: Annotated[int, Meta(ge=0, le=10_000)] = 500
    """The most jobs that a worker claims beyond those it runs. It takes far fewer where handlers are slow."""

    lease: Annotated[float, Meta(ge=1, le=LONGEST)] = 30.0
    """Seconds that a silent worker keeps its jobs. Then they are given to others."""

    poll_interval: Seconds = 1.0
    """Seconds between two looks for due jobs when no notification comes; with jitter."""

    grace: Annotated[float, Meta(ge=0, le=LONGEST)] = 30.0
    """Seconds that running attempts have to end when a worker stops. Then they are ended and run again elsewhere."""

    horizon_alarm: Annotated[float, Meta(ge=0, le=LONGEST)] = 300.0
    """Seconds for which a transaction may keep PostgreSQL from cleaning up before a worker warns. 0: no warnings."""

    hook_timeout: Seconds = 5.0
    """Seconds that an observer may wait before it is ended; the job goes on."""

    def __repr__(self) -> str:
        fields = ((name, getattr(self, name)) for name in self.__struct_fields__)
        shown = (f"{n}={describe_url(v) if n == 'database_url' and v else v!r}" for n, v in fields)
        return f"Settings({', '.join(shown)})"


def load(arguments: Mapping[str, object], environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings from `arguments` (None means: not given), then the environment, then the defaults.

    Raises `ConfigurationError`, naming the setting and where its value came from; a URL is never shown whole.
    """
    values: dict[str, object] = {}
    for name, kind in get_type_hints(Settings, include_extras=True).items():
        if arguments.get(name) is not None:
            values[name] = _checked(name, kind, arguments[name], f"{name}=", strict=True)
        elif environment.get(variable := f"SONIQ_{name.upper()}"):
            values[name] = _checked(name, kind, environment[variable], variable, strict=False)
    unknown = sorted(set(arguments) - set(Settings.__struct_fields__))
    if unknown:
        raise ConfigurationError(
            f"no setting is named {unknown[0]!r}; there are {', '.join(Settings.__struct_fields__)}"
        )
    settings = msgspec.convert(values, Settings)
    if not SCHEMA_NAME.fullmatch(settings.schema):
        raise ConfigurationError(
            f"schema {settings.schema!r}: lower-case letters, digits and underscores, not a digit first, at most 40"
        )
    if settings.unknown_jobs not in ("error", "allow"):
        raise ConfigurationError(f"unknown_jobs is 'error' or 'allow', not {settings.unknown_jobs!r}")
    if settings.database_url is not None:
        check_url(settings.database_url)
    return settings


def _checked(name: str, kind: object, value: object, source: str, *, strict: bool) -> object:
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        shown = "its value" if name == "database_url" else repr(value)
        raise ConfigurationError(f"{source} {shown} cannot be used: {error}") from None


def check_url(url: str) -> None:
    """Raise `ConfigurationError` unless `url` is one of PostgreSQL's. The message never holds the URL itself."""
    scheme, separator, _ = url.partition("://")
    if scheme not in ("postgresql", "postgres") or not separator:
        shown = f"{scheme}://..." if separator and re.fullmatch(r"[a-z0-9+.-]{1,30}", scheme) else "no such URL"
        raise ConfigurationError(f"the database URL must begin with postgresql://; this is {shown}")
    if not _is_whole(url):
        raise ConfigurationError(
            "the database URL cannot be read: a port that is no number, or one of the characters / ? # @ in the user "
            "name or the password, where they must be percent-encoded (urllib.parse.quote(password, safe=''))"
        )


def _is_whole(url: str) -> bool:
    """Whether what a URL shows as host, database and options is just that, and not a part of the password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    hosts = parts.netloc.rpartition("@")[2]
    return (
        all(HOST.fullmatch(host) for host in hosts.split(","))
        and parts.netloc.count("@") <= 1
        and "@" not in parts.path
        and not parts.fragment
        and all(OPTION.match(option) for option in parts.query.split("&") if option)
    )


def describe_url(url: str) -> str:
    """Where a URL leads, without user name and password: `host:port/database`."""
    try:
        hosts, port = _hosts(url)
        path = urlsplit(url).path
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
    """The hosts of a URL as they are written, without user name and password, and the port of those that name none."""
    if not _is_whole(url):
        raise ValueError("not a whole URL")
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    return parts.netloc.rpartition("@")[2] or query.get("host", "localhost"), query.get("port", "5432")
