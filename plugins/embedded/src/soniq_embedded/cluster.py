"""The data folder of a server: whether it can be used, and how it is made."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .account import ROOTS_SERVER_ACCOUNT, Account, account_name, find_account
from .binaries import MAJOR, run
from .errors import EmbeddedServerError

ANOTHER_FOLDER = (
    "choose another folder with SONIQ_EMBEDDED_FOLDER, or another database with SONIQ_DATABASE_URL"
)


def check(folder: Path, data: Path) -> None:
    """Raise EmbeddedServerError if the folder holds something that must not be touched."""
    if folder.exists() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise _foreign(folder, folder.stat().st_uid)

    if (folder / "PG_VERSION").exists():
        raise EmbeddedServerError(
            f"{folder} is a PostgreSQL data folder itself, and the embedded server needs a folder"
            f" of its own: {ANOTHER_FOLDER}",
            folder=folder,
        )
    if not data.exists():
        return

    owner = data.stat().st_uid
    account = find_account()
    if account is None or owner != account.uid:
        raise _foreign(folder, owner)
    _check_version(folder, data)


def _foreign(folder: Path, owner: int) -> EmbeddedServerError:
    me = account_name(os.geteuid())
    needed = me
    if os.geteuid() == 0:
        needed = f"{ROOTS_SERVER_ACCOUNT}, the account that root's server runs as"
    return EmbeddedServerError(
        f"the data in {folder} belong to {account_name(owner)}, and this process, run by {me},"
        f" needs them to belong to {needed}: run as the user that made them, or {ANOTHER_FOLDER}",
        folder=folder,
    )


def _check_version(folder: Path, data: Path) -> None:
    if not any(data.iterdir()):
        return

    version_file = data / "PG_VERSION"
    found = version_file.read_text().strip() if version_file.exists() else None
    if found is None:
        raise EmbeddedServerError(
            f"{data} is not empty and is no PostgreSQL data folder (it has no PG_VERSION):"
            f" {ANOTHER_FOLDER}",
            folder=folder,
        )
    if found != str(MAJOR):
        raise EmbeddedServerError(
            f"the data in {folder} are of PostgreSQL {found}, and this is PostgreSQL {MAJOR}, which"
            " cannot read them: move the folder away if nothing in it is needed, move the data"
            f" with pg_dump of PostgreSQL {found}, or {ANOTHER_FOLDER}",
            folder=folder,
        )


def create(data: Path, account: Account, *, sync: bool, timeout: float) -> None:
    """Make the data folder where it is missing, whole or not at all. Raises EmbeddedServerError.

    `sync=False`, for throw-away servers, leaves the writing to the system; `timeout` in seconds.
    """
    if (data / "PG_VERSION").exists():
        return
    folder = data.parent
    for left_over in folder.glob(f"{data.name}.new-*"):  # of a process that was killed here
        shutil.rmtree(left_over, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{data.name}.new-", dir=folder))
    try:
        if not account.is_own:
            os.chown(fresh, account.uid, account.gid)
        _initdb(fresh, account, sync=sync, timeout=timeout)
        fresh.rename(data)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _initdb(fresh: Path, account: Account, *, sync: bool, timeout: float) -> None:
    arguments = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", f"--pgdata={fresh}"]
    if not sync:
        arguments.append("--no-sync")

    with tempfile.TemporaryFile() as output:
        try:
            failed = run("initdb", arguments, account=account, output=output, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise EmbeddedServerError(
                f"making the data folder in {fresh.parent} took longer than {timeout:g} s",
                folder=fresh.parent,
            ) from error

        if failed:
            output.seek(0)
            said = output.read().decode(errors="replace").strip()
            raise EmbeddedServerError(
                f"making the data folder in {fresh.parent} failed; initdb said:\n{said}",
                folder=fresh.parent,
            )
