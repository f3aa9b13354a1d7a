"""A server that belongs to a folder and is shared by the processes that use it."""

import atexit
import math
import os
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from . import cluster
from .account import Account, let_read, let_through, make_account
from .binaries import program_folders, run
from .errors import EmbeddedServerError
from .lock import FileLock, LockTimeout
from .postmaster import POLL, Postmaster, discard_stale_lock_files
from .sockets import PORT, socket_folder

SETTINGS = MappingProxyType(
    {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_permissions": "0700",
        "max_connections": "100",
        "shared_buffers": "128MB",
        "jit": "off",
        "log_checkpoints": "off",
    }
)
NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


class EmbeddedServer:
    """A PostgreSQL 18 server in `folder`, reached through a socket that only this user can open.

    `start` joins the server that runs there, or starts one; `stop` ends this object's use of it,
    and the last user of all processes shuts it down. A process that was killed counts as gone. A
    process that ends without `stop` stops at exit. A forked child has no part in its parent's use.

    `options` are server settings (`{"fsync": "off"}`) for a server that this object starts; one
    that runs already keeps its own. `timeout` (seconds) limits each wait: for another process that
    starts or stops the server, for making the data folder, for starting, and for stopping.
    """

    def __init__(
        self, folder: Path | str, *, options: Mapping[str, str] = NO_OPTIONS, timeout: float = 60.0
    ) -> None:
        self.folder = Path(folder).expanduser().resolve()
        self.options = dict(options)
        self.timeout = timeout
        self.log = self.folder / "server.log"
        self._data = self.folder / "pgdata"
        self._mutex = threading.Lock()
        # Held alone by the process that starts or stops the server
        self._change = FileLock(self.folder / "change.lock")
        # Shared by all that use the server
        self._use = FileLock(self.folder / "use.lock")

    def start(self) -> str:
        """Join or start the server and return its URL.

        Again while in use it returns the same, and starts a server that is dead.
        Raises EmbeddedServerError.
        """
        try:
            cluster.check(self.folder, self._data)
            # Root's server runs as another account, which passes through
            private = 0o711 if os.geteuid() == 0 else 0o700
            self.folder.mkdir(mode=private, parents=True, exist_ok=True)

            with self._changing():
                if not self._use.held:
                    self._use.acquire(shared=True, timeout=self.timeout)
                    atexit.register(self.stop)
                try:
                    return self._running().url
                except BaseException:
                    self._leave()
                    raise
        except OSError as error:
            raise EmbeddedServerError(
                f"the embedded server in {self.folder} cannot start: {error}", folder=self.folder
            ) from error

    def stop(self) -> None:
        """End this object's use of the server, and the server itself if nobody else uses it.

        It may be called twice. Raises EmbeddedServerError.
        """
        if not self._use.held:
            return
        try:
            # If the folder was removed while in use, PostgreSQL notices that itself and ends
            if self.folder.exists():
                with self._changing():
                    self._leave()
        finally:
            self._use.release()
            atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Alone among all threads and processes in starting or stopping."""
        if not self._mutex.acquire(timeout=self.timeout):
            raise self._busy()
        try:
            with self._change.exclusive(self.timeout):
                yield
        except LockTimeout as error:
            raise self._busy() from error
        finally:
            self._mutex.release()

    def _busy(self) -> EmbeddedServerError:
        return EmbeddedServerError(
            f"another process has been starting or stopping the embedded server in {self.folder}"
            f" for {self.timeout:g} s; its log is {self.log}",
            folder=self.folder,
        )

    def _leave(self) -> None:
        self._use.release()
        atexit.unregister(self.stop)
        others = FileLock(self._use.path)
        try:
            others.acquire(shared=False, timeout=0)
        except LockTimeout:
            return
        try:
            self._shut_down()
        finally:
            others.release()

    def _shut_down(self) -> None:
        postmaster = Postmaster.find(self._data)
        if postmaster is None:
            return

        if not postmaster.stop(self.timeout):
            raise EmbeddedServerError(
                f"the embedded server in {self.folder} (pid {postmaster.process.pid}) does not"
                f" stop; its log ends with:\n{self._log_end()}",
                folder=self.folder,
            )
        if postmaster.socket_folder != self._data:
            with suppress(OSError):
                postmaster.socket_folder.rmdir()

    def _running(self) -> Postmaster:
        """The server, ready. It waits for one that starts or stops, or whose starter was killed."""
        deadline = time.monotonic() + self.timeout

        while time.monotonic() < deadline:
            postmaster = Postmaster.find(self._data)
            if postmaster is None:
                self._launch(deadline)
            elif postmaster.status == "ready":
                return postmaster
            else:
                time.sleep(POLL)

        raise EmbeddedServerError(
            f"the embedded server in {self.folder} was not ready after {self.timeout:g} s; its log"
            f" ends with:\n{self._log_end()}",
            folder=self.folder,
        )

    def _launch(self, deadline: float) -> None:
        account = make_account()
        let_through(account, self._data)
        for programs in program_folders():
            let_read(account, programs)

        sync = self.options.get("fsync") != "off"
        cluster.create(self._data, account, sync=sync, timeout=self.timeout)
        discard_stale_lock_files(self._data)
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.old"))

        if self._started(account, max(1.0, deadline - time.monotonic())):
            return
        if Postmaster.find(self._data):  # slow, or of another process that was killed: wait on
            return

        said = self._log_end()
        if "is still in use" not in said:
            raise EmbeddedServerError(
                f"the embedded server in {self.folder} did not start;"
                f" its log ({self.log}) ends with:\n{said}",
                folder=self.folder,
            )
        time.sleep(0.1)  # the children of a killed server are about to end

    def _started(self, account: Account, limit: float) -> bool:
        """Whether pg_ctl starts a server within `limit` seconds."""
        arguments = [
            "--wait",
            f"--timeout={math.ceil(limit)}",
            f"--options={self._arguments(account)}",
            "start",
        ]

        with open(os.open(self.log, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as log:
            try:
                failed = run(
                    "pg_ctl",
                    arguments,
                    account=account,
                    output=log,
                    timeout=limit + 5,
                    environment={"PGDATA": str(self._data)},
                )
            except subprocess.TimeoutExpired:
                return False
        return failed == 0

    def _arguments(self, account: Account) -> str:
        """The server's command line, for the shell of pg_ctl, which does not quote it."""
        sockets = {"unix_socket_directories": str(socket_folder(self._data, account))}
        settings = {**SETTINGS, **self.options, **sockets}
        words = ["-D", str(self._data)]
        for name, value in settings.items():
            words += ["-c", f"{name}={value}"]
        return shlex.join(words)

    def _log_end(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-20:]) or "(nothing)"
