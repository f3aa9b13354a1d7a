"""The URL of a server in other words: as another role, of another database, with a parameter."""

from urllib.parse import quote, urlsplit


def as_role(url: str, role: str, password: str = "") -> str:
    """The same database as another role."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{role}:{quote(password, safe='')}@{host}").geturl()


def of_database(url: str, name: str) -> str:
    """Another database on the same server."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def with_parameter(url: str, parameter: str) -> str:
    """The same with one parameter more: `name=value`."""
    parts = urlsplit(url)
    return parts._replace(query="&".join(filter(None, [parts.query, parameter]))).geturl()


def as_hosters_write(url: str) -> str:
    """The same with what hosters put into it, and white space around it."""
    for parameter in ("connect_timeout=10", "keepalives=1", "keepalives_idle=30"):
        url = with_parameter(url, parameter)
    for parameter in (
        "gssencmode=disable",
        "channel_binding=prefer",
        "fallback_application_name=x",
    ):
        url = with_parameter(url, parameter)
    return f" {url}\n"
