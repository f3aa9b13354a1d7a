"""A lock between processes that the kernel gives back when its holder dies, however it dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakSet

POLL = 0.02


class LockTimeout(Exception):
    """Another process held the lock for longer than the limit."""


class FileLock:
    """`flock` on a file that is made where it is missing and never removed.

    It is not for use by two threads at once. Two objects on one file exclude each other even within
    a process. A forked child holds nothing of its parent's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        _locks.add(self)

    @property
    def held(self) -> bool:
        return self._fd is not None

    def acquire(self, *, shared: bool, timeout: float) -> None:
        """Take the lock; `timeout` in seconds, 0 tries once.

        Raises LockTimeout, and OSError from the file system.
        """
        assert self._fd is None, f"{self.path} is held already"
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + timeout
        operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB

        try:
            while True:
                try:
                    fcntl.flock(fd, operation)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise LockTimeout(str(self.path)) from None
                    time.sleep(POLL)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        fd, self._fd = self._fd, None
        if fd is not None:
            # A child forked a moment ago may still have this descriptor; unlocking, unlike closing,
            # counts for both.
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    @contextmanager
    def exclusive(self, timeout: float) -> Iterator[None]:
        """Hold the lock alone for the block; `timeout` in seconds. Raises LockTimeout."""
        self.acquire(shared=False, timeout=timeout)
        try:
            yield
        finally:
            self.release()

    def _forget_after_fork(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)  # closing only: unlocking would take the lock from the parent


_locks: WeakSet[FileLock] = WeakSet()


def _forget_the_parents_locks() -> None:
    for lock in list(_locks):
        lock._forget_after_fork()


os.register_at_fork(after_in_child=_forget_the_parents_locks)
