"""The system account that the server runs as: one's own, or `pgserver` where that is root."""

import logging
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOTS_SERVER_ACCOUNT = "pgserver"

logger = logging.getLogger("soniq.embedded")


@dataclass(frozen=True, slots=True)
class Account:
    """A system account: its name, and the ids that its processes and files have."""

    name: str
    uid: int
    gid: int

    @property
    def is_own(self) -> bool:
        return self.uid == os.geteuid()


def find_account() -> Account | None:
    """The account that the server would run as; None if root's `pgserver` does not exist yet."""
    if os.geteuid() != 0:
        return Account(account_name(os.geteuid()), os.geteuid(), os.getegid())
    try:
        entry = pwd.getpwnam(ROOTS_SERVER_ACCOUNT)
    except KeyError:
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def make_account() -> Account:
    """The account that the server runs as; root's is made if it is missing. Raises OSError."""
    if account := find_account():
        return account

    useradd = shutil.which("useradd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if useradd is None:
        raise OSError(
            "PostgreSQL does not run as root, and there is no `useradd` to make the account"
            f" {ROOTS_SERVER_ACCOUNT!r} for it: make that account, or run as an ordinary user"
        )

    options = ["--system", "--user-group", "--no-create-home", "--shell", "/bin/false"]
    command = [useradd, *options, ROOTS_SERVER_ACCOUNT]
    made = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    account = find_account()  # another process may have been faster, which is as good
    if account is None:
        raise OSError(f"could not make the account {ROOTS_SERVER_ACCOUNT!r}: {made.stderr.strip()}")
    return account


def account_name(uid: int) -> str:
    """The name of a user id, or the id as text where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def let_through(account: Account, path: Path) -> None:
    """Let the account reach `path`: o+x, not listing, for each folder above that forbids it."""
    if account.is_own:
        return

    for folder in path.parents:
        about = folder.stat()
        bit = stat.S_IXUSR if about.st_uid == account.uid else stat.S_IXOTH
        if not about.st_mode & bit:
            _widen(folder, bit)
            logger.warning(
                "%s: chmod o+x was done, so that the account %r can reach %s",
                folder,
                account.name,
                path,
            )


def let_read(account: Account, tree: Path) -> None:
    """Let the account read `tree`, and run what its owner can run.

    An install under a strict umask forbids it.
    """
    if account.is_own:
        return
    let_through(account, tree)
    changed = False
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            wanted = (mode & (stat.S_IRUSR | stat.S_IXUSR)) >> 6
            if mode & wanted != wanted:
                _widen(path, wanted)
                changed = True

    if changed:
        logger.warning("%s: made readable, so that the account %r can run it", tree, account.name)


def _widen(path: Path, bits: int) -> None:
    path.chmod(stat.S_IMODE(path.stat().st_mode) | bits)
