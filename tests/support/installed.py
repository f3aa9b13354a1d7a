"""Which plugins are installed, read anew only where the folders of Python's path are others."""

import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points


def installed(*, group: str) -> list[EntryPoint]:
    """The entry points of a group, as importlib has them."""
    return list(_read(group, tuple(sys.path)))


@lru_cache(maxsize=4)
def _read(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


forget = _read.cache_clear
"""Has them read anew: for who installs something in a folder that is on the path already."""
