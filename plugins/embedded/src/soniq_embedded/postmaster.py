"""A running server, as its data folder tells of it."""

import signal
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]

PID_FILE = "postmaster.pid"
POLL = 0.02


@dataclass(frozen=True, slots=True)
class Postmaster:
    """The server process of a data folder: alive, and certainly this folder's."""

    process: psutil.Process
    socket_folder: Path
    port: int
    status: str

    @classmethod
    def find(cls, data: Path) -> "Postmaster | None":
        """The server that runs on the data folder, or None: postmaster.pid alone proves nothing."""
        lines = _lines(data / PID_FILE) or []
        try:
            process = psutil.Process(int(lines[0]))
            command = process.cmdline()  # of a zombie: an error, or empty
            if not command or Path(command[0]).name != "postgres" or str(data) not in command:
                return None
            status = lines[7].strip() if len(lines) > 7 else "starting"
            return cls(process, Path(lines[4].strip()), int(lines[3]), status)
        except (IndexError, ValueError, OverflowError, psutil.Error):
            return None

    @property
    def url(self) -> str:
        """What asyncpg and psql connect with; the port is named because PGPORT may say another."""
        return f"postgresql://postgres:@/postgres?host={quote(str(self.socket_folder))}&port={self.port}"

    def stop(self, timeout: float) -> bool:
        """Shut down politely, or after `timeout` seconds at once (still safe); whether it ended."""
        return self._end(signal.SIGINT, timeout) or self._end(signal.SIGQUIT, 10)

    def _end(self, how: signal.Signals, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        try:
            self.process.send_signal(how)
            while time.monotonic() < deadline:
                if self.process.status() == psutil.STATUS_ZOMBIE:
                    return True
                time.sleep(POLL)
        except psutil.NoSuchProcess:
            return True
        return False


def discard_stale_lock_files(data: Path) -> None:
    """Remove the lock files that PostgreSQL itself would stumble over.

    Those are half-written, or name a stranger's process. To be called where no server runs
    on the folder, and with the change lock held. One that names a dead process is left to
    PostgreSQL, which also looks whether that server's children still live; for the others it does
    so by the inode.
    """
    for path in (data / PID_FILE, *data.glob(".s.PGSQL.*.lock")):
        lines = _lines(path)
        try:
            stale = lines is not None and psutil.pid_exists(int(lines[0]))
        except (IndexError, ValueError, OverflowError):
            stale = True
        if stale:
            path.unlink(missing_ok=True)


def _lines(path: Path) -> list[str] | None:
    try:
        return path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return None
