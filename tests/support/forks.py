"""Python processes that are forked from one that has imported Soniq: as they are when they are
started, but for the third of a second that the imports take.
"""

import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from threading import Lock, Thread
from types import ModuleType
from typing import IO, Any, Self

LATER = (
    "httpx", "opentelemetry.exporter.otlp.proto.http.trace_exporter", "soniq_otel.consume",
    "soniq_otel.gauges", "soniq_otel.produce", "soniq_psycopg.handlers", "soniq_pydantic.reading",
    "soniq_sentry.recording", "soniq_sqlalchemy.engines", "soniq_sqlalchemy.sessions",
    "uvicorn.main",
)  # fmt: skip
"""What plugins import where they are made use of, and what is used beside them."""


class Fork:
    """A process that was forked, with what tests use of a `subprocess.Popen`; its output is text."""

    def __init__(
        self,
        arguments: Sequence[str],
        connection: socket.socket,
        stdout: IO[str] | None,
        stderr: IO[str] | None,
    ) -> None:
        self.args = list(arguments)
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self._connection = connection
        self._answers = connection.makefile()
        self._answering = Lock()
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        """The exit code, once it has ended."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float) -> int:
        """Wait for its end, for so many seconds at most; the exit code."""
        with self._answering:
            if self.returncode is None:
                if not select.select([self._connection], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired(self.args, timeout)
                self.returncode = os.waitstatus_to_exitcode(int(self._answers.readline()))
                self._answers.close()
                self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 60.0) -> tuple[str, str]:
        """Wait for its end; what it printed, as far as it was not read before."""
        ends = time.monotonic() + timeout
        read = ["", ""]

        def read_all(number: int, stream: IO[str]) -> None:
            with stream:
                read[number] = stream.read()

        threads = [
            Thread(target=read_all, args=(number, stream), daemon=True)
            for number, stream in enumerate((self.stdout, self.stderr))
            if stream is not None and not stream.closed
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, ends - time.monotonic()))
            if thread.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout)
        self.wait(max(0.0, ends - time.monotonic()))
        return read[0], read[1]


class Forks:
    """The process that others are forked from, which is told what they are to run as Python is: a
    file and its arguments, or `-m` and a module.

    `plugins`: it has imported all plugins as well, and what Sentry's SDK looks at, which takes more
    than a second.
    """

    def __init__(self, *, plugins: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="soniq-forks-")
        self._address = str(Path(self._folder.name) / "socket")
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self._address)
        listening.listen()
        with listening:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(listening.fileno()), *["plugins"] * plugins],
                pass_fds=[listening.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._folder.cleanup()

    def run(
        self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float
    ) -> "subprocess.CompletedProcess[str]":
        """Run to its end, as `subprocess.run` would with `capture_output`."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
            fork = self.start(arguments, cwd=cwd, env=env, output=(out, errors))
            try:
                code = fork.wait(timeout)
            except subprocess.TimeoutExpired:
                fork.kill()
                raise
            out.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(fork.args, code, out.read(), errors.read())

    def start(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        output: tuple[IO[str], IO[str]] | None = None,
        new_session: bool = False,
    ) -> Fork:
        """Start a process whose stdout and stderr are these files, or pipes."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._address)
        request = {
            "arguments": list(arguments), "cwd": str(cwd), "env": dict(env), "session": new_session,
        }  # fmt: skip
        text = json.dumps(request).encode() + b"\n"
        if output is not None:
            socket.send_fds(connection, [text], [file.fileno() for file in output])
            return Fork(arguments, connection, None, None)

        pipes = [os.pipe() for _ in range(2)]
        socket.send_fds(connection, [text], [end for _, end in pipes])
        for _, end in pipes:
            os.close(end)
        return Fork(arguments, connection, *(open(end) for end, _ in pipes))


def _serve(listening: socket.socket) -> dict[str, Any]:
    """Fork for each request, and tell of each end; in the process that is to be the program, what
    was asked for.
    """
    connections: dict[int, socket.socket] = {}
    woken, waking = socket.socketpair()
    waking.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking.fileno())
    while True:
        if woken in select.select([listening, woken], [], [])[0]:
            woken.recv(4096)
            for pid, status in _ended():
                with connections.pop(pid) as connection, contextlib.suppress(OSError):
                    connection.sendall(b"%d\n" % status)
            continue

        connection, _ = listening.accept()
        text, files, _, _ = socket.recv_fds(connection, 65536, 2)
        while not text.endswith(b"\n"):
            text += connection.recv(65536)
        pid = os.fork()
        if pid == 0:
            break
        for file in files:
            os.close(file)
        connections[pid] = connection
        connection.sendall(b"%d\n" % pid)

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for each in (listening, woken, waking, connection, *connections.values()):
        each.close()
    for number, file in enumerate(files, 1):
        os.dup2(file, number)
        os.close(file)
    asked: dict[str, Any] = json.loads(text)
    return asked


def _ended() -> Iterator[tuple[int, int]]:
    """The processes that have ended, and their wait statuses."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


def _become(asked: dict[str, Any]) -> None:
    """Be as a process is that was started with these arguments, this environment and folder."""
    if asked["session"]:
        os.setsid()
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    first, *others = asked["arguments"]
    paths = [path for path in asked["env"].get("PYTHONPATH", "").split(os.pathsep) if path]
    folder = asked["cwd"] if first == "-m" else str(Path(first).parent)
    sys.path[:0] = [folder, *(path for path in paths if path not in sys.path)]
    if first == "-m":
        sys.argv = others
        runpy.run_module(others[0], run_name="__main__", alter_sys=True)
        return

    sys.argv = asked["arguments"]
    main = ModuleType("__main__")
    main.__file__ = first
    sys.modules["__main__"] = main
    exec(compile(Path(first).read_bytes(), first, "exec"), vars(main))


def _import_plugins() -> None:
    from sentry_sdk.integrations import iter_default_integrations

    for plugin in entry_points(group="soniq"):
        plugin.load()
    list(iter_default_integrations(True))
    for name in LATER:
        import_module(name)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file
    import soniq.app
    import soniq.cli.commands
    import soniq.worker.worker  # noqa: F401

    if sys.argv[2:]:
        _import_plugins()

    # Else each process walks through all of that at its end, and has a copy of it made
    gc.freeze()
    _become(_serve(socket.socket(fileno=int(sys.argv[1]))))
