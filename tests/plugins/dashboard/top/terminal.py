"""A terminal of a test: what a program writes to it is drawn as a person would see it."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyte

PATIENCE = 60.0
"""Seconds for what should come soon."""


class Terminal:
    """A program that runs in a terminal of its own."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        size: tuple[int, int] = (80, 24),
    ) -> None:
        self.written = b""
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._ours, self._theirs = pty.openpty()
        self._set_size(*size)
        self.before = termios.tcgetattr(self._theirs)
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            start_new_session=True,
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def lines(self) -> list[str]:
        """What is on the screen."""
        with self._lock:
            return [line.rstrip() for line in self._screen.display]

    def shows(self, *texts: str) -> list[str]:
        """Wait until all of these are on the screen; its lines."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            lines = self.lines
            if all(any(text in line for line in lines) for text in texts):
                return lines
            time.sleep(0.05)
        shown = "\n".join(self.lines)
        raise AssertionError(f"{texts} is not on the screen:\n{shown}")

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        with self._lock:
            self._screen.resize(lines, columns)
        self._set_size(columns, lines)
        os.killpg(self.process.pid, 28)  # SIGWINCH, which is the kernel's to send to a foreground

    def end(self) -> int:
        """Wait for the program's end; its exit code. The terminal is as it was before."""
        code = self.process.wait(PATIENCE)
        assert termios.tcgetattr(self._theirs)[:4] == self.before[:4]
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self._theirs)
        self._reading.join(PATIENCE)
        os.close(self._ours)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65_536)
            except OSError:  # all that had it open are gone
                return
            if not data:
                return
            with self._lock:
                self.written += data
                self._stream.feed(data)
