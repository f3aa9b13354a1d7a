"""`python -m soniq` in processes that are forked from one that has imported Soniq: as they are, but
for the third of a second that the imports take.
"""

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self


class ForkedCommands:
    """The process that commands are forked from."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="soniq-commands-")
        self._address = str(Path(self._folder.name) / "socket")
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self._address)
        listening.listen()
        with listening:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(listening.fileno())],
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
        """Run a command to its end, as `subprocess.run` would with `capture_output`."""
        with (
            tempfile.TemporaryFile("w+") as out,
            tempfile.TemporaryFile("w+") as errors,
            socket.socket(socket.AF_UNIX) as connection,
        ):
            connection.settimeout(timeout)
            connection.connect(self._address)
            request = {"arguments": arguments, "cwd": str(cwd), "env": dict(env)}
            files = [out.fileno(), errors.fileno()]
            socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], files)
            answers = connection.makefile()
            pid = int(answers.readline())
            try:
                status = int(answers.readline())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(arguments), timeout) from None

            out.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(
                list(arguments), os.waitstatus_to_exitcode(status), out.read(), errors.read()
            )


def _serve(listening: socket.socket) -> dict[str, Any]:
    """Fork for each request; in the process that is to be the command, what was asked for."""
    while True:
        connection, _ = listening.accept()
        while True:  # those whose command has ended
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                break
        if os.fork() == 0:
            break
        connection.close()

    listening.close()
    text, files, _, _ = socket.recv_fds(connection, 65536, 2)
    while not text.endswith(b"\n"):
        text += connection.recv(65536)
    pid = os.fork()
    if pid == 0:
        connection.close()
        for number, file in enumerate(files, 1):
            os.dup2(file, number)
            os.close(file)
        asked: dict[str, Any] = json.loads(text)
        return asked

    connection.sendall(b"%d\n" % pid)
    connection.sendall(b"%d\n" % os.waitpid(pid, 0)[1])
    os._exit(0)


def _become(asked: dict[str, Any]) -> None:
    """Be as a process is that was started with these arguments, this environment and folder."""
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    paths = [path for path in asked["env"].get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:0] = [asked["cwd"], *(path for path in paths if path not in sys.path)]
    sys.argv = ["soniq", *asked["arguments"]]
    runpy.run_module("soniq", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file
    import soniq.app
    import soniq.cli.commands  # noqa: F401

    _become(_serve(socket.socket(fileno=int(sys.argv[1]))))
