"""Who runs a command, as the operating system has it."""

import getpass
import socket


def this_person() -> str:
    """`user@host`; the host alone where the process runs as a number without a name."""
    host = socket.gethostname()
    try:
        return f"{getpass.getuser()}@{host}"
    except (OSError, KeyError, ImportError):  # which of them depends on Python's version
        return host
