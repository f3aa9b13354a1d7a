"""Objects in what obstore reaches."""

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.store import LocalStore, MemoryStore, from_url

if TYPE_CHECKING:
    from obstore.store import ObjectStore

NO_BUCKET = re.compile("NoSuchBucket|ContainerNotFound|bucket does not exist")


class StoredObjects:
    """Objects in S3, Google Cloud Storage, Azure, files or memory."""

    def __init__(self, url: str, timeout: float) -> None:
        self._store = _store(url, timeout)

    async def put(self, name: str, data: bytes) -> None:
        try:
            await obstore.put_async(self._store, name, data, use_multipart=False)
        except FileNotFoundError:  # another call has just removed the folder, which was empty
            await obstore.put_async(self._store, name, data, use_multipart=False)

    async def get(self, name: str) -> bytes:
        try:
            found = await obstore.get_async(self._store, name)
            return bytes(await found.bytes_async())
        except FileNotFoundError as error:
            raise self._judged(error) from None

    async def delete(self, names: Sequence[str]) -> None:
        try:
            await obstore.delete_async(self._store, names)
        except FileNotFoundError as error:  # the rest of them may be left
            if not isinstance(self._judged(error), FileNotFoundError):
                raise
            for name in names:
                with suppress(FileNotFoundError):
                    await obstore.delete_async(self._store, name)

    async def close(self) -> None:
        """Nothing to let go of."""

    def _judged(self, error: FileNotFoundError) -> Exception:
        """The error, or another one where it is the whole store that is missing."""
        folder = self._store.prefix if isinstance(self._store, LocalStore) else None
        gone = folder and not folder.is_dir()
        if gone or NO_BUCKET.search(str(error)):
            return ConnectionError("the folder, bucket or container itself does not exist")
        return error


def _store(url: str, timeout: float) -> "ObjectStore":
    scheme = urlsplit(url).scheme
    if scheme == "memory":
        return MemoryStore()
    if scheme == "file":
        return LocalStore.from_url(url, mkdir=True, automatic_cleanup=True)
    retries = timedelta(seconds=timeout)
    return from_url(url, retry_config={"max_retries": 3, "retry_timeout": retries})
