"""A process that forks as web servers do that load the application first, with an app `eq` whose
threads are running by then.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

CHILDREN = 2
LONGEST = 8.0
"""Seconds that a child may take: it waits for no thread of its parent's."""

FORKS = """
import os, signal, sys, time

eq.sync.enqueue("mail", 0)
children = []
for number in (1, 2):
    pid = os.fork()
    if pid == 0:
        in_child(number)
        sys.exit(0)
    children.append(pid)
began = time.monotonic()
ends = [os.waitpid(pid, 0)[1] for pid in children]
print(ends, time.monotonic() - began)
"""
"""Follows what makes the app, its job `mail(number)`, and a function `in_child(number)`."""


def run_forking(folder: Path, program: str, **environment: str) -> None:
    """Run such a program; its children have to end well, and soon."""
    file = folder / "forking.py"
    file.write_text(textwrap.dedent(program) + FORKS)
    done = subprocess.run(
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", str(file)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    ends, _, took = done.stdout.strip().rpartition(" ")
    assert ends == str([0] * CHILDREN)
    assert float(took) < LONGEST
