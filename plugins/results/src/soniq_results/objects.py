"""Where objects are kept: one small interface, over obstore and over Redis."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from soniq import ConfigurationError

CLOUD = {"s3": "AWS_*", "gs": "GOOGLE_*", "az": "AZURE_*"}
"""The schemes of object stores, and the environment variables that obstore reads for them."""
REDIS = ("redis", "rediss")
SCHEMES = (*CLOUD, "file", "memory", *REDIS)


class Objects(Protocol):
    """Keeps objects of some megabytes each. What is missing is a `FileNotFoundError`."""

    async def put(self, name: str, data: bytes) -> None: ...

    async def get(self, name: str) -> bytes: ...

    async def delete(self, names: Sequence[str]) -> None:
        """Remove them; those that are missing are fine."""
        ...

    async def close(self) -> None:
        """Let go of connections; the next use makes new ones."""
        ...


def check_url(url: str, source: str) -> None:
    """Raise `ConfigurationError` unless a store can be made of `url`; without the URL itself."""
    wrong = _wrong(url)
    if wrong is not None:
        raise ConfigurationError(f"{source} {wrong}")


def _wrong(url: str) -> str | None:
    """What is wrong with a URL. It raises nothing: a password would be among the variables."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (reading it is the check)
    except ValueError:
        return "is a URL that cannot be read"

    if parts.scheme not in SCHEMES:
        shown = f"{parts.scheme}://..." if "://" in url else "no such URL"
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        return f"begins with one of {known}; this is {shown}"
    if parts.scheme in REDIS:
        if find_spec("redis") is None:
            return "leads to Redis, which needs: pip install 'soniq-results[redis]'"
        return None
    return _wrong_place(parts)


def _wrong_place(parts: SplitResult) -> str | None:
    """What is wrong with a URL of obstore's beyond its scheme."""
    if "@" in parts.netloc or parts.query or parts.fragment:
        where = CLOUD.get(parts.scheme, "no")
        return (
            f"has a user name, a password or options, which are not read from a {parts.scheme}://"
            f" URL; set them in {where} environment variables"
        )
    if parts.scheme in CLOUD and not parts.netloc:
        return f"names no bucket: {parts.scheme}://bucket/prefix"
    if parts.scheme == "file" and (parts.netloc or parts.path in ("", "/")):
        return "names no folder: file:///folder, with three slashes"
    return None


def place(url: str) -> str:
    """A URL without user name, password and options."""
    parts = urlsplit(url)
    return SplitResult(parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "").geturl()


def open_objects(url: str, timeout: float) -> Objects:
    """The store of a checked `url`; `timeout` in seconds for each call.

    Raises `ConfigurationError`.
    """
    try:
        if urlsplit(url).scheme in REDIS:
            return RedisObjects(url, timeout)
        from .stored import StoredObjects  # it imports obstore, which Redis does not need

        return StoredObjects(url, timeout)
    except Exception as error:
        raise ConfigurationError(
            f"the store of results {place(url)} cannot be used: {first_line(error)}"
        ) from None


def first_line(error: Exception) -> str:
    """What an error says, without what obstore adds for its own authors."""
    lines = str(error).splitlines() or [""]
    return lines[0][:500] or type(error).__name__


class RedisObjects:
    """Objects as values in Redis."""

    def __init__(self, url: str, timeout: float) -> None:
        from redis.asyncio import Redis  # an extra

        self._redis = Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
        # This finds options that do not exist, and connects to nothing
        pool = self._redis.connection_pool
        pool.connection_class(**pool.connection_kwargs)

    async def put(self, name: str, data: bytes) -> None:
        await self._redis.set(name, data)

    async def get(self, name: str) -> bytes:
        data = await self._redis.get(name)
        if data is None:
            raise FileNotFoundError(name)
        assert isinstance(data, bytes)
        return data

    async def delete(self, names: Sequence[str]) -> None:
        await self._redis.unlink(*names)

    async def close(self) -> None:
        await self._redis.aclose()
